"""Room on a disk, with and without the system's own call for it."""

from __future__ import annotations

import os
import tempfile

import pytest

from edgectl_agent.reserve import reserve


@pytest.fixture(params=["posix_fallocate", "as on macOS"])
def system(request, monkeypatch):
    if request.param != "posix_fallocate":
        monkeypatch.delattr(os, "posix_fallocate")


@pytest.mark.parametrize("size_bytes", [0, 1, (1 << 20) - 1, (3 << 20) + 5])
def test_a_file_is_as_long_as_asked_for_and_has_no_holes(system, size_bytes):
    with tempfile.TemporaryFile() as file:
        reserve(file.fileno(), size_bytes)
        status = os.fstat(file.fileno())
    assert status.st_size == size_bytes
    assert status.st_blocks * 512 >= size_bytes


def test_a_disk_without_room_says_so(system):
    full = os.open("/dev/full", os.O_RDWR)
    try:
        with pytest.raises(OSError, match="No space|No such device|Invalid|Illegal"):
            reserve(full, 1 << 20)
    finally:
        os.close(full)
