"""Durable changes."""

from __future__ import annotations

import errno
import os

import pytest

from edgectl_agent.core.store.atomic import TEMPORARY_PREFIX, Disk, read_file, room
from edgectl_protos.domain.errors import DeviceError, DiskFullError, DocumentError


class PowerCutError(Exception):
    """The power is gone."""


class CutBeforeRename(Disk):
    def _rename(self, source, target):
        raise PowerCutError


def test_a_written_file_has_its_bytes_and_leaves_nothing_beside_it(tmp_path):
    Disk().write(tmp_path / "a", b"one")
    Disk().write(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_cut_before_the_rename_leaves_the_old_bytes_and_a_sweep_removes_the_rest(tmp_path):
    Disk().write(tmp_path / "a", b"old")
    with pytest.raises(PowerCutError):
        CutBeforeRename().write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    Disk().sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_link_is_repointed_in_one_step(tmp_path):
    disk = Disk()
    disk.point(tmp_path / "current", "releases/a")
    with pytest.raises(PowerCutError):
        CutBeforeRename().point(tmp_path / "current", "releases/b")
    assert os.readlink(tmp_path / "current") == "releases/a"
    disk.point(tmp_path / "current", "releases/b")
    assert os.readlink(tmp_path / "current") == "releases/b"


def test_a_tree_vanishes_at_once(tmp_path):
    (tmp_path / "release" / "sub").mkdir(parents=True)
    (tmp_path / "release" / "sub" / "file").write_bytes(b"x")
    with pytest.raises(PowerCutError):
        CutBeforeRename().remove_tree(tmp_path / "release")
    assert (tmp_path / "release" / "sub" / "file").exists()
    Disk().remove_tree(tmp_path / "release")
    assert list(tmp_path.iterdir()) == []


def test_removing_what_is_not_there_is_no_error(tmp_path):
    Disk().remove(tmp_path / "nothing")
    Disk().remove_tree(tmp_path / "nothing")


def test_a_sweep_removes_half_made_directories_too(tmp_path):
    (tmp_path / f"{TEMPORARY_PREFIX}x").mkdir()
    (tmp_path / f"{TEMPORARY_PREFIX}x" / "file").write_bytes(b"")
    Disk().sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported_as_one(tmp_path):
    with pytest.raises(DiskFullError, match="writing blob"), room(tmp_path / "blob"):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS, errno.EACCES])
def test_another_failure_of_the_disk_is_ours_too_and_says_which(tmp_path, code):
    with pytest.raises(DeviceError, match=rf"writing blob: .*\({errno.errorcode[code]}\)"), room(tmp_path / "blob"):
        raise OSError(code, os.strerror(code))


def test_a_disk_says_what_is_wrong_with_it_until_it_takes_something_again(tmp_path):
    disk = Disk()
    with pytest.raises(DeviceError):
        disk.write(tmp_path / "nowhere" / "a", b"")
    assert "ENOENT" in disk.problem
    disk.write(tmp_path / "a", b"")
    assert disk.problem == ""


def test_a_planted_link_is_never_written_through(tmp_path):
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / f"{TEMPORARY_PREFIX}a").symlink_to(tmp_path / "precious")
    Disk().write(tmp_path / "a", b"new")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "a").read_bytes() == b"new"
    assert not (tmp_path / "a").is_symlink()


def test_only_a_file_of_bearable_length_is_read(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_file(tmp_path / "file", limit_bytes=5) == b"12345"
    with pytest.raises(DocumentError, match="more than the 4 bytes"):
        read_file(tmp_path / "file", limit_bytes=4)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="symbolic"):
        read_file(tmp_path / "link", limit_bytes=5)
    with pytest.raises(DocumentError, match="no file"):
        read_file(tmp_path / "fifo", limit_bytes=5)


def test_what_is_set_aside_keeps_what_was_set_aside_before(tmp_path):
    (tmp_path / "aside").mkdir()
    for _ in range(2):
        (tmp_path / "a").write_bytes(b"?")
        Disk().set_aside(tmp_path / "a", tmp_path / "aside", "why")
    assert sorted(path.name for path in (tmp_path / "aside").iterdir()) == ["a", "a.1"]
