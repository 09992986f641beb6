from dataclasses import replace

import numpy as np
import pytest

from edgectl_agent.worker.release import read_npz, read_release
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, NotFoundError
from edgectl_testkit.bundles import release_dir, tiny_bundle


@pytest.fixture
def folder(tmp_path):
    bundle, _ = tiny_bundle(tmp_path / "bundle")
    return release_dir(bundle, tmp_path / "release")


def rewrite(folder, **changes):
    path = folder / MANIFEST_NAME
    manifest = from_bytes(Manifest, path.read_bytes(), what=MANIFEST_NAME)
    path.write_bytes(canonical_bytes(replace(manifest, **changes)))


def test_a_release_is_read_whole(folder):
    release = read_release(folder)
    assert release.component.name == "full"
    assert release.loop.name == "tiny"
    assert sorted(release.golden()) == sorted(
        ["in.observation.images.top", "in.observation.images.wrist", "in.observation.state", "out.action"]
    )
    assert "post.action.mul" in release.arrays


def test_no_release_says_what_makes_one(tmp_path):
    with pytest.raises(NotFoundError, match="no release") as caught:
        read_release(tmp_path)
    assert "edgectl deploy" in caught.value.hint


@pytest.mark.parametrize("name", ["processing.npz", "loop.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleCorruptError, match=name):
        read_release(folder)


def test_a_manifest_that_is_not_json_is_refused(folder):
    (folder / MANIFEST_NAME).write_text("{")
    with pytest.raises(BundleError, match="is not JSON"):
        read_release(folder)


def test_a_policy_of_several_graphs_is_refused_with_their_names(folder):
    component = read_release(folder).component
    rewrite(folder, components=(replace(component, name="vision"), replace(component, name="head")))
    with pytest.raises(BundleError, match="vision, head"):
        read_release(folder)


def test_a_release_without_golden_cases_has_none(folder):
    rewrite(folder, golden=None)
    assert read_release(folder).golden() == {}


@pytest.mark.parametrize("damage", ["truncate", "flip", "pickle", "text", "npy"])
def test_arrays_that_cannot_be_trusted_are_refused(tmp_path, damage):
    path = tmp_path / "a.npz"
    if damage == "pickle":
        np.savez(path, a=np.array([{}], object))
    else:
        np.savez_compressed(path, a=np.arange(1000))
    data = bytearray(path.read_bytes())
    if damage == "truncate":
        data = data[: len(data) // 2]
    elif damage == "flip":
        data[200] ^= 0xFF
    elif damage == "text":
        data = bytearray(b"hello")
    elif damage == "npy":
        np.save(tmp_path / "a.npy", np.arange(3))
        data = bytearray((tmp_path / "a.npy").read_bytes())
    path.write_bytes(bytes(data))
    with pytest.raises(BundleCorruptError, match=r"a\.npz cannot be read"):
        read_npz(path)
