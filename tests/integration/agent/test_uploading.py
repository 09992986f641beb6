"""Blobs through the real server: what is asked for, what is acknowledged, and what is refused."""

from __future__ import annotations

import hashlib
import os
import threading
from array import array
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import pytest

from edgectl_protos.agent.v1 import artifact_service_pb2
from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.codec.status import error_from_rpc
from edgectl_protos.codec.transfer import FRAME_BYTES, frame_header
from edgectl_protos.domain.artifact import Digest, FileEntry
from edgectl_protos.domain.bundle import MANIFEST_NAME
from edgectl_protos.domain.chunks import CHUNK_DIGEST_BYTES, MAX_CHUNKS, MIN_CHUNK_BYTES, ChunkList
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundleError,
    EdgectlError,
    NotFoundError,
    ProtocolError,
    StateError,
)
from edgectl_testkit.daemons import daemons
from edgectl_testkit.footprint import comes_below, memory_bytes
from edgectl_testkit.raw_client import RawClient, chunks_of, frame_of, manifest_of
from edgectl_testkit.serve import serve, short_folder

SIZE = MIN_CHUNK_BYTES
DATA = os.urandom(20 * SIZE + 77)
CHUNKS = chunks_of(DATA, size_bytes=SIZE)
DIGEST = Digest(hashlib.sha256(DATA).hexdigest())
ALL = range(21)


def create(client, bundle, name="v1", **blobs):
    """A deployment of a release that holds these blobs."""
    folder = bundle(name, extra=blobs or {"big": DATA})
    client.create((folder / MANIFEST_NAME).read_bytes(), f"d-{name}")


@pytest.fixture
def offered(client, bundle):
    """The upload of DATA, of which nothing is there."""
    create(client, bundle)
    return client.offer("d-v1", DIGEST, CHUNKS)


def frames(upload, *indices, data=DATA, chunks=CHUNKS):
    return [frame_of(upload, data, chunks, index) for index in indices]


def changed(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def digest_of(data):
    return Digest(hashlib.sha256(data).hexdigest())


def test_frames_of_several_chunks_in_any_order_over_several_streams_make_the_blob(client, offered):
    replies = []

    def send(*parts):
        replies.append(client.upload(frame_of(offered.upload, DATA, CHUNKS, *part) for part in parts))

    threads = [threading.Thread(target=send, args=parts) for parts in ([(12, 9), (0, 4)], [(8, 4)], [(4, 4), (6, 3)])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(replies) == len(DATA) + 3 * SIZE
    client.commit("d-v1", DIGEST)
    assert client.offer("d-v1", DIGEST, CHUNKS).complete


def test_what_is_acknowledged_while_a_stream_runs_is_durable(state, bundle):
    with serve(state, sync_every_bytes=2 * SIZE) as address, RawClient(address) as client:
        create(client, bundle)
        offer = client.offer("d-v1", DIGEST, CHUNKS)
        go_on = threading.Event()

        def slow():
            yield from frames(offer.upload, 0, 1, 2)
            go_on.wait(20)
            yield from frames(offer.upload, 3)

        call = client.upload_call(slow())
        assert next(call).durable_bytes == 2 * SIZE
        # Whoever asks the disk meanwhile finds what was acknowledged, and nothing that was not.
        record = (state / "partial" / f"{DIGEST.hex}.map").read_bytes()
        assert record[16:] == bytes([0, 0, 0, 0, 0, 0, 0, 2])
        go_on.set()
        assert [reply.durable_bytes for reply in call] == [4 * SIZE]


def test_a_stream_that_breaks_keeps_what_had_arrived(state, bundle):
    with serve(state, sync_every_bytes=SIZE) as address, RawClient(address) as client:
        create(client, bundle)
        offer, held = client.offer("d-v1", DIGEST, CHUNKS), threading.Event()

        def broken():
            yield from frames(offer.upload, 0, 5)
            held.wait(20)

        call = client.upload_call(broken())
        while next(call).durable_bytes < 2 * SIZE:
            pass
        call.cancel()
        held.set()
        assert client.offer("d-v1", DIGEST, CHUNKS).missing == tuple(i for i in ALL if i not in (0, 5))


def test_chunks_are_found_in_the_blobs_of_every_release(client, bundle):
    create(client, bundle, "v1")
    first = client.offer("d-v1", DIGEST, CHUNKS)
    client.upload(frames(first.upload, *ALL))
    client.commit("d-v1", DIGEST)
    client.cancel("d-v1")
    other = changed(changed(DATA, 3 * SIZE), 4 * SIZE + 9)
    create(client, bundle, "v2", big=other)
    chunks = chunks_of(other, size_bytes=SIZE)
    second = client.offer("d-v2", digest_of(other), chunks)
    assert second.missing == (3, 4)
    client.upload(frames(second.upload, 3, 4, data=other, chunks=chunks))
    client.commit("d-v2", digest_of(other))


@pytest.mark.parametrize(
    ("frame", "error", "why"),
    [
        (lambda name: b"", ProtocolError, "a frame of 0 bytes"),
        (lambda name: frame_header(name, 0, 1), ProtocolError, "a frame of 24 bytes"),
        (lambda name: frame_header(name, 0, 1) + bytes(FRAME_BYTES + 1), ProtocolError, "a frame of 1,048,601"),
        (lambda name: frame_header(name, 0, 1) + DATA[: SIZE - 1], BundleError, "16,383 arrived"),
        (lambda name: frame_header(name, 0, 1) + DATA[: SIZE + 1], BundleError, "16,385 arrived"),
        (lambda name: frame_header(name, 0, 0) + b"x", BundleError, "no chunks 0 to -1"),
        (lambda name: frame_header(name, 21, 1) + b"x", BundleError, "no chunks 21 to 21"),
        (lambda name: frame_header(name, 2**32 - 1, 2**32 - 1) + b"x", BundleError, "no chunks"),
        (lambda name: frame_header(name, 1, 1) + DATA[:SIZE], BundleCorruptError, "chunk 1 of blob"),
        (lambda name: frame_header(bytes(16), 0, 1) + DATA[:SIZE], StateError, "no such upload"),
    ],
)
def test_a_frame_that_is_wrong_is_refused_and_those_before_it_are_kept(client, offered, frame, error, why):
    with pytest.raises(error, match=why):
        client.upload([*frames(offered.upload, 9), frame(offered.upload)] if error is not StateError else [frame(b"")])
    client.upload(frames(offered.upload, 10))
    missing = client.offer("d-v1", DIGEST, CHUNKS).missing
    assert missing == tuple(i for i in ALL if i != 10 and (error is StateError or i != 9))


def test_frames_of_two_uploads_on_one_stream_are_refused(client, bundle):
    other = DATA[::-1]
    create(client, bundle, one=DATA, two=other)
    one = client.offer("d-v1", DIGEST, CHUNKS)
    two = client.offer("d-v1", digest_of(other), chunks_of(other, size_bytes=SIZE))
    with pytest.raises(ProtocolError, match="a frame of another upload"):
        client.upload([*frames(one.upload, 0), *frames(two.upload, 0, data=other)])


def test_frames_of_an_earlier_offer_are_refused(client, offered):
    again = client.offer("d-v1", DIGEST, CHUNKS)
    with pytest.raises(StateError, match="no such upload"):
        client.upload(frames(offered.upload, 0))
    client.upload(frames(again.upload, 0))


def test_frames_that_are_replayed_after_the_commit_are_refused(client, offered):
    client.upload(frames(offered.upload, *ALL))
    client.commit("d-v1", DIGEST)
    with pytest.raises(StateError, match="no such upload"):
        client.upload(frames(offered.upload, 0))


def test_frames_of_a_withdrawn_deployment_are_refused(client, offered):
    client.cancel("d-v1")
    with pytest.raises(StateError, match="no such upload"):
        client.upload(frames(offered.upload, 0))


@pytest.mark.parametrize("act", ["offered anew", "withdrawn"])
def test_a_stream_that_only_waits_is_ended_when_nobody_wants_it_any_more(state, bundle, act):
    with serve(state, sync_every_bytes=SIZE) as address, RawClient(address) as client:
        create(client, bundle)
        offer, held = client.offer("d-v1", DIGEST, CHUNKS), threading.Event()

        def stalls():
            yield from frames(offer.upload, 0, 1)
            held.wait(20)

        stalled = client.upload_call(stalls())
        while next(stalled).durable_bytes < 2 * SIZE:
            pass
        if act == "withdrawn":
            client.cancel("d-v1")
        else:
            assert client.offer("d-v1", DIGEST, CHUNKS).missing == tuple(range(2, 21))
        with pytest.raises(grpc.RpcError) as ended:
            list(stalled)
        assert ended.value.code() is grpc.StatusCode.CANCELLED
        held.set()


@pytest.mark.parametrize(
    ("chunks", "why"),
    [
        (b"", "no chunk list"),
        (b"edgchnk1" + b"\xff" * 4 + bytes(64), "no chunk list of 4,294,967,295"),
        (bytes(1 << 20), "no chunk list"),
    ],
)
def test_what_is_no_chunk_list_is_refused(client, bundle, chunks, why):
    create(client, bundle)
    request = artifact_service_pb2.OfferRequest(deployment_id="d-v1", digest=str(DIGEST), chunks=chunks)
    with pytest.raises(grpc.RpcError) as refused:
        client.artifact.Offer(request, timeout=30)
    error: EdgectlError = error_from_rpc(refused.value, device="bench")
    assert type(error) is BundleError
    assert why in error.message


def test_an_offer_that_is_longer_than_any_list_is_refused_before_it_is_read(client, bundle):
    create(client, bundle)
    request = artifact_service_pb2.OfferRequest(deployment_id="d-v1", digest=str(DIGEST), chunks=bytes(5 << 20))
    with pytest.raises(grpc.RpcError) as refused:
        client.artifact.Offer(request, timeout=30)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_an_offer_of_another_size_or_of_no_blob_of_the_release_is_refused(client, bundle):
    create(client, bundle)
    with pytest.raises(BundleError, match="327757 bytes are offered|bytes are offered, the manifest says"):
        client.offer("d-v1", DIGEST, chunks_of(DATA[:-1], size_bytes=SIZE))
    with pytest.raises(NotFoundError):
        client.offer("d-v1", Digest("0" * 64), CHUNKS)


def test_the_chunks_of_a_complete_blob_are_learned_again_when_their_list_is_lost(client, bundle, state):
    create(client, bundle)
    offer = client.offer("d-v1", DIGEST, CHUNKS)
    client.upload(frames(offer.upload, *ALL))
    client.commit("d-v1", DIGEST)
    (state / "chunks" / DIGEST.hex).unlink()
    assert client.offer("d-v1", DIGEST, CHUNKS).complete
    client.cancel("d-v1")
    other = changed(DATA, 0)
    create(client, bundle, "v2", big=other)
    assert client.offer("d-v2", digest_of(other), chunks_of(other, size_bytes=SIZE)).missing == (0,)


def test_the_list_of_a_blob_goes_with_it(client, bundle, state):
    for name in ("v1", "v2", "v3", "v4", "v5", "v6"):
        data = name.encode() * (2 << 20)
        assert client.deploy(bundle(name, extra={"big": data}), f"d-{name}").state is State.COMMITTED
    blobs = {path.name for path in (state / "blobs/sha256").iterdir()}
    lists = {path.name for path in (state / "chunks").iterdir()}
    assert len(lists) >= 2
    assert lists <= blobs


def test_offers_of_the_longest_lists_take_turns_and_leave_no_memory(tmp_path, bundle):
    manifest = manifest_of(bundle())
    large = FileEntry("large.bin", MAX_CHUNKS * MIN_CHUNK_BYTES, Digest("ab" * 32))
    document = canonical_bytes(replace(manifest, files=(*manifest.files, large)))
    with (
        short_folder() as folder,
        daemons() as source,
        source.running(tmp_path / "state", folder / "s") as agent,
        RawClient(f"unix:{folder}/s") as client,
        ThreadPoolExecutor(16) as hosts,
    ):
        client.create(document, "d-1")
        before = memory_bytes(agent, "VmRSS")

        def offer(_):
            digests = os.urandom(CHUNK_DIGEST_BYTES * MAX_CHUNKS)
            chunks = ChunkList(array("I", [MIN_CHUNK_BYTES]) * MAX_CHUNKS, digests)
            assert len(client.offer("d-1", large.digest, chunks).missing) == MAX_CHUNKS

        list(hosts.map(offer, range(16)))
        assert memory_bytes(agent, "VmHWM") < before + 100e6
        assert comes_below(agent, before + 40e6)
