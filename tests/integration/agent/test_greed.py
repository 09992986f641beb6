"""Hosts that take more than their share: the others are still answered."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
from concurrent import futures

import grpc
import pytest

from edgectl_protos.agent.v1 import deployment_service_pb2
from edgectl_protos.codec.status import error_from_rpc
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import BusyError, EdgectlError, UsageError
from edgectl_testkit.footprint import memory_bytes
from edgectl_testkit.raw_client import RawClient, manifest_bytes
from edgectl_testkit.serve import serve, short_folder


def silent():
    """Requests that never come; and what ends them."""
    ends = queue.Queue()
    return iter(ends.get, None), lambda: ends.put(None)


def refused(call):
    try:
        for _ in call:
            return None
    except grpc.RpcError as exc:
        return error_from_rpc(exc, device="bench")
    return None


def test_any_number_of_silent_streams_keeps_no_call_waiting(client, bundle, address):
    client.stage(bundle("v1"), "d-1")
    hogs, ends = [], []
    with contextlib.ExitStack() as stack:
        for _ in range(24):
            hog = stack.enter_context(RawClient(address))
            hogs.append(hog.deployment.Watch(deployment_service_pb2.WatchRequest(deployment_id="d-1")))
            requests, end = silent()
            ends.append(end)
            hogs.append(hog.upload_call(requests))
        for _ in range(20):
            assert client.hello()
            assert client.get("d-1").state is State.STAGING
        # Not only once their deadlines had ended them.
        assert not all(call.done() for call in hogs)
        # Its own host can still withdraw, which ends what watches it.
        assert client.cancel("d-1").state is State.FAILED
        for call in hogs:
            call.cancel()
        for end in ends:
            end()


def watch(stack, address):
    """A stream of its own connection, on which all was said that there is to say; who drops it ends it."""
    hog = stack.enter_context(RawClient(address))
    call = hog.deployment.Watch(deployment_service_pb2.WatchRequest(deployment_id="d-1"))
    assert [next(call).sequence for _ in range(2)] == [1, 2]
    return call


def test_of_watchers_that_say_nothing_one_yields_to_the_next(state, bundle):
    with serve(state, lease_s=0.0) as address, RawClient(address) as client, contextlib.ExitStack() as stack:
        client.stage(bundle("v1"), "d-1")
        ended = queue.Queue()
        calls = [watch(stack, address) for _ in range(8)]
        for call in calls:
            call.add_done_callback(ended.put)
        last = watch(stack, address)
        yielded = ended.get(timeout=30)
        assert yielded.code() is grpc.StatusCode.CANCELLED
        assert [call.done() for call in (*calls, last)] == [call is yielded for call in (*calls, last)]


def test_a_watcher_too_many_is_told_so(state, bundle):
    with serve(state) as address, RawClient(address) as client, contextlib.ExitStack() as stack:
        client.stage(bundle("v1"), "d-1")
        calls = [watch(stack, address) for _ in range(8)]
        hog = stack.enter_context(RawClient(address))
        late = hog.deployment.Watch(deployment_service_pb2.WatchRequest(deployment_id="d-1"))
        assert type(refused(late)) is BusyError
        assert not any(call.done() for call in calls)


@pytest.mark.parametrize("size", [2 << 20, 15 << 20])
def test_a_request_that_is_too_long_is_refused_before_it_is_parsed(client, size):
    with pytest.raises(EdgectlError):
        client.create(b"[" * size, "d-1")
    assert client.hello()


def test_a_frame_that_is_too_long_ends_its_upload(client, bundle):
    client.stage(bundle("v1"), "d-1")
    with pytest.raises(UsageError, match="at most"):
        client.upload([os.urandom(2 << 20)])


def test_hostile_requests_leave_the_agent_small_and_serving(tmp_path, bundle):
    with short_folder() as folder:
        command = [sys.executable, "-m", "edgectl_agent", "run", "--state-dir", f"{folder}/s"]
        with subprocess.Popen(
            [*command, "--listen", f"unix:{folder}/a"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            try:
                assert process.stdout.readline()
                attack(f"unix:{folder}/a", bundle)
                with RawClient(f"unix:{folder}/a") as client:
                    assert client.hello()
                assert memory_bytes(process.pid) < 100e6
            finally:
                process.kill()


def attack(address: str, bundle) -> None:
    """Manifests that are strings, frames beyond any chunk, and more calls than are answered at once."""
    manifest = manifest_bytes(bundle("v1"))
    texts = (b'"' + b"x" * (1 << 20) + b'"', b"[" * (1 << 20), manifest[:-1], b"\xff" * (4 << 20), b'{"name": 1}')

    def one(number: int) -> None:
        with RawClient(address) as client:
            for _ in range(20):
                with contextlib.suppress(EdgectlError):
                    client.create(texts[number % len(texts)], f"d-{number}")
                with contextlib.suppress(EdgectlError):
                    client.upload([b"x" * (1 << 20)] * 4)

    with futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(16)))
