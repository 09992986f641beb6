"""kill -9 of the daemon before and after every durable write of an upload: nothing acknowledged is sent again."""

from __future__ import annotations

import atexit
import contextlib
import functools
import random
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from edgectl_protos.domain.bundle import MANIFEST_NAME
from edgectl_protos.domain.chunks import MIN_CHUNK_BYTES
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import EdgectlError
from edgectl_testkit.daemons import daemons, end, wait_end
from edgectl_testkit.faults import CountingDisk
from edgectl_testkit.raw_client import RawClient, chunks_of, frame_of, manifest_of
from edgectl_testkit.serve import serve, short_folder
from edgectl_testkit.stub_bundles import stub_bundle

SIZE = MIN_CHUNK_BYTES
DRAWN = random.Random(1)
OLD = DRAWN.randbytes(5 * SIZE)
NEW = OLD[: 2 * SIZE] + DRAWN.randbytes(3 * SIZE) + b"end"
"""Two chunks are on the device already, in a blob of another release. Digests name the cases: the same in every run."""


@dataclass(frozen=True)
class Prepared:
    state: Path
    bundle: Path
    writes: list[str]


def upload(client: RawClient, bundle: Path, acknowledged: list[int]) -> None:
    """Create a deployment and send the new blob, a frame a chunk; indices are noted as they are acknowledged."""
    client.create((bundle / MANIFEST_NAME).read_bytes(), "d-new")
    chunks, digest = chunks_of(NEW, size_bytes=SIZE), manifest_of(bundle).file("big").digest
    offer = client.offer("d-new", digest, chunks)
    done = 0
    for reply in client.upload_call(frame_of(offer.upload, NEW, chunks, index) for index in offer.missing):
        while done < reply.durable_bytes:
            acknowledged.append(offer.missing[len(acknowledged)])
            done += chunks.sizes[acknowledged[-1]]
    client.commit("d-new", digest)


@functools.cache
def prepared() -> Prepared:
    folder = Path(tempfile.mkdtemp(prefix="edg-upl-"))
    # Made at collection: no fixture may ever run.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    old, new = (stub_bundle(folder / name, name=name, extra={"big": data}) for name, data in (("o", OLD), ("n", NEW)))
    with serve(folder / "state") as address, RawClient(address) as client:
        client.create((old / MANIFEST_NAME).read_bytes(), "d-old")
        chunks, digest = chunks_of(OLD, size_bytes=SIZE), manifest_of(old).file("big").digest
        offer = client.offer("d-old", digest, chunks)
        client.upload(frame_of(offer.upload, OLD, chunks, index) for index in offer.missing)
        client.commit("d-old", digest)
        assert client.deploy(old, "d-old").state is State.COMMITTED
    shutil.copytree(folder / "state", folder / "counted", symlinks=True)
    disk, acknowledged = CountingDisk(), []
    with serve(folder / "counted", disk=disk, sync_every_bytes=1) as address, RawClient(address) as client:
        upload(client, new, acknowledged)
        assert acknowledged == [2, 3, 4, 5]
        writes = [write.what for write in disk.writes]
    return Prepared(folder / "state", new, writes)


def pytest_generate_tests(metafunc):
    if "write" in metafunc.fixturenames:
        cases = [
            pytest.param(index, when, id=f"{when} {index}: {write[:20]}")
            for index, write in enumerate(prepared().writes)
            for when in ("before", "after")
        ]
        metafunc.parametrize(("write", "when"), cases)


def test_the_count_covers_an_upload():
    writes = prepared().writes
    digest = manifest_of(prepared().bundle).file("big").digest.hex
    for name in (
        f"rename {digest}.chunks",
        f"rename {digest}.map",
        "append",
        f"rename {digest}",
        f"remove {digest}.map",
    ):
        assert name in writes
    # Two chunks copied, and a sync for each of the four that are sent.
    assert writes[writes.index(f"rename {digest}.map") :].count("append") >= 5


@pytest.fixture(scope="module")
def source():
    with daemons() as source:
        yield source


@pytest.mark.slow
def test_an_upload_goes_on_where_a_killed_agent_stood(tmp_path, source, write, when):
    state, bundle = tmp_path / "state", prepared().bundle
    shutil.copytree(prepared().state, state, symlinks=True)
    acknowledged: list[int] = []
    with short_folder() as folder:
        pid = source.start(state, folder / "s", at=write, when=when, sync_every_bytes=1)
        try:
            if source.wait_ready(pid):
                with contextlib.suppress(EdgectlError, grpc.RpcError), RawClient(f"unix:{folder}/s") as client:
                    upload(client, bundle, acknowledged)
            assert wait_end(pid, 60), "it went the whole way"
        finally:
            end(pid)

    chunks, digest = chunks_of(NEW, size_bytes=SIZE), manifest_of(bundle).file("big").digest
    with serve(state) as address, RawClient(address) as client:
        client.create((bundle / MANIFEST_NAME).read_bytes(), "d-new")
        offer = client.offer("d-new", digest, chunks)
        assert not set(offer.missing) & {0, 1, *acknowledged}
        if not offer.complete:
            client.upload(frame_of(offer.upload, NEW, chunks, index) for index in offer.missing)
            client.commit("d-new", digest)
        assert (state / "blobs/sha256" / digest.hex).read_bytes() == NEW
        assert client.deploy(bundle, "d-new").state is State.COMMITTED
    assert not list((state / "partial").iterdir())
    assert not list(state.rglob(".tmp-*"))
