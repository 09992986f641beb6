"""What is refused before anything is installed, through the real server."""

from __future__ import annotations

import contextlib
import json

import grpc
import pytest

from edgectl_protos.domain.bundle import BuildRecipe
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import (
    BundlePathError,
    DiskFullError,
    LoopSpecError,
    ProtocolError,
    RuntimeMissingError,
    UsageError,
)
from edgectl_testkit.raw_client import RawClient, chunks_of, frame_of, manifest_bytes, manifest_of
from edgectl_testkit.serve import serve
from edgectl_testkit.stub_bundles import Part, stub_loop


def test_a_host_of_another_protocol_is_refused(client):
    with pytest.raises(ProtocolError, match="speaks protocol 2 to 3, agent"):
        client.hello(2, 3)
    assert client.hello(1, 9).protocol_max == 1


def test_an_unknown_call_is_unimplemented_not_a_crash(client):
    method = client.channel.unary_unary("/edgectl.agent.v1.InfoService/Reboot")
    with pytest.raises(grpc.RpcError) as caught:
        method(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_runtime_that_is_not_there_is_refused_before_a_byte_is_sent(client, bundle):
    with pytest.raises(RuntimeMissingError, match="'tensorrt' for component 'full'; it has: broken, side, stub"):
        client.create(manifest_bytes(bundle(runtime="tensorrt")), "d-1")
    with pytest.raises(RuntimeMissingError, match="its library does not load"):
        client.create(manifest_bytes(bundle("b", runtime="broken")), "d-1")
    with pytest.raises(RuntimeMissingError, match="no bf16 kernels"):
        client.create(manifest_bytes(bundle("c", scheme="bf16")), "d-1")
    assert client.listing()[0] == []


def test_of_two_components_the_one_whose_runtime_is_missing_is_named(client, bundle):
    parts = (Part("vision"), Part("denoise", "tensorrt"))
    with pytest.raises(RuntimeMissingError, match="'tensorrt' for component 'denoise'"):
        client.create(manifest_bytes(bundle(parts=parts)), "d-1")


def test_a_part_that_is_still_to_be_built_is_refused_before_a_byte_is_sent(client, bundle):
    parts = (Part("full", recipe=BuildRecipe("tensorrt")),)
    with pytest.raises(RuntimeMissingError, match="must be built on the device by 'tensorrt'"):
        client.create(manifest_bytes(bundle(parts=parts)), "d-1")
    assert client.listing()[0] == []


def test_a_loop_that_does_not_fit_is_refused_as_soon_as_it_is_here(client, bundle):
    wrong = bundle(loop=stub_loop(use=2))
    client.create(manifest_bytes(wrong), "d-1")
    entry = manifest_of(wrong).file("loop.json")
    data = (wrong / "blobs/sha256" / entry.digest.hex).read_bytes()
    offered = client.offer("d-1", entry.digest, chunks_of(data))
    client.upload([frame_of(offered.upload, data, chunks_of(data), 0)])
    with pytest.raises(LoopSpecError, match="executes 2 actions of a chunk"):
        client.commit("d-1", entry.digest)
    # A host that does not listen gets no further, and one that comes later is told before it sends anything.
    client.cancel("d-1")
    with pytest.raises(LoopSpecError, match="executes 2 actions of a chunk"):
        client.create(manifest_bytes(wrong), "d-2")


def test_a_host_that_starts_a_loop_that_does_not_fit_gets_no_further(client, bundle):
    with contextlib.suppress(LoopSpecError):
        client.stage(bundle(loop=stub_loop(use=2)), "d-1")
    for entry in manifest_of(bundle(loop=stub_loop(use=2))).files:
        data = (bundle(loop=stub_loop(use=2)) / "blobs/sha256" / entry.digest.hex).read_bytes()
        offered = client.offer("d-1", entry.digest, chunks_of(data))
        if not offered.complete:
            client.upload([frame_of(offered.upload, data, chunks_of(data), 0)])
            client.commit("d-1", entry.digest)
    client.start("d-1")
    last = list(client.watch("d-1"))[-1]
    assert (last.state, last.failure.reason) == (State.FAILED, "loop_invalid")


def test_a_path_that_leaves_the_bundle_is_refused(client, bundle):
    document = json.loads(manifest_bytes(bundle()))
    document["files"][0]["path"] = "../../etc/cron.d/evil"
    with pytest.raises(BundlePathError, match=r"\.\./\.\./etc"):
        client.create(json.dumps(document).encode(), "d-1")


@pytest.mark.parametrize("name", ["../x", "", "a b"])
def test_an_id_that_could_leave_the_journal_is_refused(client, bundle, name):
    with pytest.raises(UsageError, match="deployment id"):
        client.create(manifest_bytes(bundle()), name)


def test_no_room_is_refused_before_anything_is_sent(state, bundle):
    with serve(state, reserve_bytes=1 << 60) as address, RawClient(address) as client:
        with pytest.raises(DiskFullError, match="needs .* bytes more") as caught:
            client.create(manifest_bytes(bundle()), "d-1")
        assert "free some space" in caught.value.hint
        assert client.listing()[0] == []
