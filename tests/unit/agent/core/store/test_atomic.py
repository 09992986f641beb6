"""Durable changes."""

from __future__ import annotations

import errno
import os

import pytest

from edgectl_agent.core.store.atomic import TEMPORARY_PREFIX, Disk, room
from edgectl_protos.domain.errors import DiskFullError


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


def test_another_failure_of_the_disk_stays_what_it_is(tmp_path):
    with pytest.raises(PermissionError), room(tmp_path / "blob"):
        raise PermissionError(errno.EACCES, "Permission denied")
