from __future__ import annotations

import os

import pytest

from edgectl_converters import digests
from edgectl_converters.card import sha256_of
from edgectl_converters.digests import FileDigests


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"a" * (2 << 20))
    os.utime(path, (1_000_000, 1_000_000))
    return path


@pytest.fixture
def read(monkeypatch):
    """Which files were really read."""
    seen = []

    def counting(path):
        seen.append(path)
        return sha256_of(path)

    monkeypatch.setattr(digests, "sha256_of", counting)
    return seen


def test_a_file_is_read_once_over_several_processes(tmp_path, big, read):
    for _ in range(2):
        remembered = FileDigests(tmp_path / "cache")
        assert remembered(big) == sha256_of(big)
        remembered.save()
    assert read == [big]


@pytest.mark.parametrize("change", ["size", "time", "inode"])
def test_a_changed_file_is_read_again(tmp_path, big, read, change):
    remembered = FileDigests(tmp_path)
    remembered(big)
    if change == "size":
        big.write_bytes(b"a" * (3 << 20))
        os.utime(big, (1_000_000, 1_000_000))
    if change == "time":
        big.write_bytes(b"b" * (2 << 20))
        os.utime(big, (1_000_001, 1_000_001))
    if change == "inode":
        other = big.with_name("other")
        other.write_bytes(b"c" * (2 << 20))
        os.utime(other, (1_000_000, 1_000_000))
        other.replace(big)
    assert remembered(big) == sha256_of(big)
    assert len(read) == 2


def test_a_file_written_this_moment_is_not_remembered(tmp_path, big, read):
    os.utime(big)
    remembered = FileDigests(tmp_path)
    remembered(big)
    remembered(big)
    assert len(read) == 2


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_damaged_memory_is_only_forgotten(tmp_path, big, text):
    (tmp_path / "digests.json").write_text(text)
    assert FileDigests(tmp_path)(big) == sha256_of(big)
