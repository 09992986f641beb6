from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.store.derived import Derived
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.errors import BuildError
from edgectl_protos.worker.derived import STAMP_NAME, key_of
from edgectl_protos.worker.messages import Built

SOURCE, OTHER = Digest("a" * 64), Digest("b" * 64)
HERE, THERE = {"version": "10.3", "sm": "8.7"}, {"version": "10.7", "sm": "8.7"}


@pytest.fixture
def derived(tmp_path: Path) -> Derived:
    (tmp_path / "derived").mkdir()
    return Derived(tmp_path / "derived", Disk())


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A folder in which something is built."""
    (tmp_path / "built").mkdir()
    return tmp_path / "built"


def build(derived: Derived, source: Digest = SOURCE, bound_to: dict[str, str] = HERE) -> Digest:
    key = key_of(source, bound_to)
    folder = Path(tempfile.mkdtemp(dir=derived._folder.parent))
    (folder / "parts").mkdir()
    (folder / "parts" / "weights").write_bytes(b"weights")
    (folder / "model.engine").write_bytes(b"engine")
    derived.publish(folder, key, source, bound_to, Built("model.engine"))
    return key


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_is_built_is_visible_when_it_is_whole_and_not_before(derived, built, tmp_path):
    key = key_of(SOURCE, HERE)
    (built / "model.engine").write_bytes(b"engine")
    assert not derived.intact(key)
    assert list(derived) == []
    derived.publish(built, key, SOURCE, HERE, Built("model.engine"))
    assert derived.intact(key)
    assert names(tmp_path / "derived") == {key.hex}
    assert names(tmp_path / "derived" / key.hex) == {"model.engine", STAMP_NAME}
    assert not built.exists()


def test_a_file_that_somebody_could_still_write_to_is_refused(derived, built, tmp_path):
    key = key_of(SOURCE, HERE)
    (built / "model.engine").write_bytes(b"engine")
    with (built / "model.engine").open("ab"), pytest.raises(BuildError, match=r"'model.engine' is still open for wri"):
        derived.publish(built, key, SOURCE, HERE, Built("model.engine"))
    assert names(tmp_path / "derived") == set()
    with (built / "model.engine").open("rb"):
        derived.publish(built, key, SOURCE, HERE, Built("model.engine"))
    assert derived.intact(key)


def test_a_key_is_over_everything_that_it_is_bound_to():
    keys = {key_of(SOURCE, HERE), key_of(SOURCE, THERE), key_of(OTHER, HERE), key_of(SOURCE, {**HERE, "driver": "1"})}
    assert len(keys) == 4
    assert key_of(SOURCE, dict(reversed(HERE.items()))) == key_of(SOURCE, HERE)


def test_a_builder_that_did_not_write_what_it_says_is_refused(derived, built):
    with pytest.raises(BuildError, match=r"says that it wrote 'model\.engine', and it did not"):
        derived.publish(built, key_of(SOURCE, HERE), SOURCE, HERE, Built("model.engine"))


def test_what_was_built_is_out_of_the_builders_reach_before_it_is_looked_at(derived, built):
    key = key_of(SOURCE, HERE)
    (built / "model.engine").write_bytes(b"engine")
    derived.take(built, key)
    # A second builder of the same; the first one's was never published.
    built.mkdir()
    (built / "model.engine").write_bytes(b"engine")
    held = derived.take(built, key)
    assert not built.exists()
    derived.publish(held, key, SOURCE, HERE, Built("model.engine"))
    derived.discard(held)
    assert derived.intact(key)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_builder_that_wrote_a_link_to_another_file_is_refused(derived, built, tmp_path, link):
    (tmp_path / "secret").write_bytes(b"secret")
    link(tmp_path / "secret", built / "model.engine")
    with pytest.raises(BuildError, match="no file of its own"):
        derived.publish(built, key_of(SOURCE, HERE), SOURCE, HERE, Built("model.engine"))
    assert list(derived) == []


@pytest.mark.parametrize("name", ["model.engine", "parts/weights", STAMP_NAME])
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"{}")])
def test_what_is_altered_is_dropped(derived, tmp_path, name, damage):
    key = build(derived)
    assert derived.intact(key)
    damage(tmp_path / "derived" / key.hex / name)
    assert not derived.intact(key)
    assert names(tmp_path / "derived") == set()


def test_building_again_takes_the_place_of_what_was(derived, tmp_path):
    key = build(derived)
    assert build(derived) == key
    assert derived.intact(key)
    assert names(tmp_path / "derived") == {key.hex}


def test_what_was_built_for_another_version_goes_and_other_sources_stay(derived):
    old, new, other = build(derived), build(derived, SOURCE, THERE), build(derived, OTHER)
    derived.drop_others(SOURCE, new)
    assert set(derived) == {new, other}
    assert old != new


def test_what_no_release_needs_is_collected_and_what_cannot_be_read_too(derived, tmp_path):
    needed, unneeded = build(derived), build(derived, OTHER)
    stamp = tmp_path / "derived" / unneeded.hex / STAMP_NAME
    stamp.write_bytes(b"?")
    derived.collect({SOURCE})
    assert set(derived) == {needed}
    derived.collect(())
    assert names(tmp_path / "derived") == set()
