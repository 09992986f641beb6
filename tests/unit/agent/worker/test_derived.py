"""Which file a worker opens for a component that this device built."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.store.derived import Derived
from edgectl_agent.worker.derived import artifact_of
from edgectl_agent.worker.release import Release, read_release
from edgectl_agent.worker.runtimes.reference import ReferenceRuntime
from edgectl_protos.domain.bundle import BuildRecipe
from edgectl_protos.domain.errors import BundleCorruptError, RuntimeMissingError
from edgectl_protos.worker.derived import STAMP_NAME, key_of, source_of
from edgectl_protos.worker.messages import Built
from edgectl_testkit.bundles import release_dir, tiny_bundle


class Building(ReferenceRuntime):
    """A runtime that says what its builds are bound to."""

    version = "1.0"

    def _bound_to(self, version: str) -> dict[str, str]:
        return {"version": self.version, "sm": "8.7"}


@pytest.fixture
def release(tmp_path: Path) -> Release:
    bundle, _ = tiny_bundle(tmp_path / "bundle", recipe=BuildRecipe("reference"))
    return read_release(release_dir(bundle, tmp_path / "release"))


@pytest.fixture
def built(release: Release, tmp_path: Path) -> Path:
    """The folder of what was built, as the agent leaves it."""
    folder = tmp_path / "derived"
    folder.mkdir()
    (component,) = release.manifest.components
    source, bound_to = source_of(component, release.manifest), Building().bound_to()
    key, derived = key_of(source, bound_to), Derived(folder, Disk())
    made = tmp_path / "made"
    made.mkdir()
    (made / "model.engine").write_bytes(b"engine")
    derived.publish(made, key, source, bound_to, Built("model.engine"))
    return folder / key.hex


def open_it(release: Release, derived: Path | str, runtime: Building | None = None) -> Path:
    return artifact_of(release, release.manifest.components[0], runtime or Building(), str(derived))


def test_what_the_agent_built_is_found(release, built):
    assert open_it(release, built.parent) == built / "model.engine"


def test_what_needs_no_build_is_a_file_of_the_release(tmp_path):
    bundle, _ = tiny_bundle(tmp_path / "bundle")
    release = read_release(release_dir(bundle, tmp_path / "release"))
    assert open_it(release, "") == tmp_path / "release/components/act/model.onnx"


def test_what_was_built_for_another_version_is_not_opened(release, built):
    other = Building()
    other.version = "2.0"
    with pytest.raises(RuntimeMissingError, match=r"'act' is not built for .*version 2\.0, sm 8\.7"):
        open_it(release, built.parent, other)


def test_on_a_host_it_is_the_device_that_builds(release):
    with pytest.raises(RuntimeMissingError, match="'act' is built by the device that runs it"):
        open_it(release, "")


@pytest.mark.parametrize("name", ["model.engine", STAMP_NAME])
def test_what_is_not_whole_is_refused(release, built, name):
    whole = (built / name).read_bytes()
    (built / name).write_bytes(whole[:-1])
    with pytest.raises(BundleCorruptError):
        open_it(release, built.parent)
    (built / name).unlink()
    with pytest.raises(BundleCorruptError, match="not whole"):
        open_it(release, built.parent)
