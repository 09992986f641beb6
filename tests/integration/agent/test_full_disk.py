"""A disk that is really full: the state directory on a small tmpfs."""

from __future__ import annotations

import os
import subprocess

import pytest

from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import DiskFullError
from edgectl_testkit.raw_client import RawClient, chunks_of, manifest_bytes, manifest_of
from edgectl_testkit.serve import serve

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A state directory of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no permission to mount a tmpfs: {mounted.stderr.strip()}")
    yield folder / "state"
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_release_that_does_not_fit_is_refused_with_the_numbers_and_the_old_one_stays(small_disk, bundle):
    with serve(small_disk) as address, RawClient(address) as client:
        client.deploy(bundle("v1"), "d-1")
        before = client.listing()[1:]
        big = bundle("v2", extra={"big.bin": os.urandom(5 * MIB)})
        with pytest.raises(DiskFullError, match=r"needs 5,\d{3},\d{3} bytes more; [\d,]+ are free"):
            client.create(manifest_bytes(big), "d-2")
        assert client.listing()[1:] == before
        assert client.deploy(bundle("v3", extra={"big.bin": os.urandom(MIB)}), "d-3").state is State.COMMITTED


def test_a_disk_that_somebody_else_fills_refuses_the_offer_and_leaves_nothing_of_it(small_disk, bundle):
    big = bundle("v2", extra={"big.bin": os.urandom(2 * MIB)})
    entry = manifest_of(big).file("big.bin")
    data = (big / "blobs/sha256" / entry.digest.hex).read_bytes()
    with serve(small_disk) as address, RawClient(address) as client:
        client.deploy(bundle("v1"), "d-1")
        client.create(manifest_bytes(big), "d-2")
        (small_disk.parent / "hog").write_bytes(b"x" * (3 * MIB))
        with pytest.raises(DiskFullError, match="no space left"):
            client.offer("d-2", entry.digest, chunks_of(data))
        assert not list((small_disk / "partial").iterdir())
        (small_disk.parent / "hog").unlink()
        assert client.deploy(big, "d-2").state is State.COMMITTED


def test_a_disk_that_fills_up_during_the_installation_fails_it_and_the_old_release_stays(small_disk, bundle):
    with serve(small_disk) as address, RawClient(address) as client:
        client.deploy(bundle("v1"), "d-1")
        before = client.listing()[1:]
        client.stage(bundle("v2", wishes={"run_s": 0}), "d-2")
        _fill(small_disk.parent / "hog")
        with pytest.raises(DiskFullError):
            client.start("d-2")
        assert client.get("d-2").state is State.STAGING
        assert client.cancel("d-2").state is State.FAILED
        assert client.listing()[1:] == before
        (small_disk.parent / "hog").unlink()
        assert client.deploy(bundle("v2"), "d-3").state is State.COMMITTED


def _fill(path):
    """Take every byte that is left."""
    with path.open("wb", buffering=0) as file:
        for size in (MIB, 4096, 512, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
