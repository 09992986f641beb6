"""Hosts that fall silent, withdraw or leave, and agents that stop in the middle of an installation."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from concurrent import futures

import pytest

from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import BusyError, StateError, UnreachableError
from edgectl_testkit.raw_client import RawClient, chunks_of, frame_of, manifest_bytes, manifest_of, release_of
from edgectl_testkit.serve import serve


def test_events_wait_for_their_host_across_a_restart_of_the_agent(state, bundle):
    with serve(state) as address, RawClient(address) as client:
        client.stage(bundle(), "d-1")
        client.start("d-1")
        events = list(client.watch("d-1"))
        client.acknowledge("d-1", events[3].sequence)
    with serve(state) as address, RawClient(address) as client:
        assert list(client.watch("d-1")) == events[4:]
        assert list(client.watch("d-1", after=events[6].sequence)) == events[7:]


def test_of_two_that_create_at_once_one_gets_the_device(client, bundle):
    client.facts()
    gate = threading.Barrier(2)

    def create(name):
        gate.wait()
        try:
            return client.create(manifest_bytes(bundle(name)), name, owner=f"host-{name}").id
        except BusyError as exc:
            return exc

    with futures.ThreadPoolExecutor(2) as pool:
        won, lost = sorted(pool.map(create, ("a", "b")), key=lambda answer: isinstance(answer, BusyError))
    assert isinstance(lost, BusyError)
    assert f"deployment {won} of host-{won} holds the device, now staging" in lost.message


def test_a_silent_host_loses_the_device_and_its_later_calls_are_refused(state, bundle):
    with serve(state, lease_s=0.0) as address, RawClient(address) as client:
        client.stage(bundle("v1"), "d-1", owner="alice")
        assert client.deploy(bundle("v2"), "d-2", owner="bob").state is State.COMMITTED
        ended = client.get("d-1")
        assert (ended.state, ended.failure.reason) == (State.FAILED, "cancelled")
        assert "superseded by bob" in ended.failure.message
        entry = manifest_of(bundle("v1")).files[0]
        for call in (
            lambda: client.offer("d-1", entry.digest, chunks_of(b"")),
            lambda: client.commit("d-1", entry.digest),
            lambda: client.start("d-1"),
        ):
            with pytest.raises(StateError, match="superseded by bob"):
                call()


def test_a_host_that_is_heard_of_keeps_its_lease(client, bundle):
    client.create(manifest_bytes(bundle("v1")), "d-1", owner="alice")
    with pytest.raises(BusyError, match=r"d-1 of alice .* staging; its lease ends in \d+ s"):
        client.create(manifest_bytes(bundle("v2")), "d-2")


def test_a_host_that_never_comes_back_does_not_keep_a_deployment_open_for_ever(state, bundle):
    with serve(state, staging_deadline_s=0.3) as address, RawClient(address) as client:
        client.create(manifest_bytes(bundle()), "d-1")
        assert [event.state for event in client.watch("d-1")][-1] is State.FAILED
        assert "silent" in client.get("d-1").failure.message


def test_an_upload_goes_on_where_the_last_agent_stood(state, bundle):
    big = bundle(extra={"big.bin": b"0123456789abcdef" * (3 << 16)})
    data = b"0123456789abcdef" * (3 << 16)
    digest = Digest(hashlib.sha256(data).hexdigest())
    with serve(state) as address, RawClient(address) as client:
        client.create(manifest_bytes(big), "d-1")
        chunks = chunks_of(data)
        offered = client.offer("d-1", digest, chunks)
        assert offered.missing == (0, 1, 2)
        assert client.upload([frame_of(offered.upload, data, chunks, 1)]) == 1 << 20
    with serve(state) as address, RawClient(address) as client:
        assert client.get("d-1").state is State.STAGING
        assert client.offer("d-1", digest, chunks).missing == (0, 2)
        assert client.deploy(big, "d-1").state is State.COMMITTED


def test_what_a_failed_attempt_sent_is_not_sent_again(client, bundle):
    client.stage(bundle(), "d-1")
    client.cancel("d-1")
    client.create(manifest_bytes(bundle()), "d-2")
    for entry in manifest_of(bundle()).files:
        blob = (bundle() / "blobs/sha256" / entry.digest.hex).read_bytes()
        assert client.offer("d-2", entry.digest, chunks_of(blob)).complete


def test_a_withdrawn_deployment_frees_the_device(client, bundle):
    client.stage(bundle("v1"), "d-1")
    assert client.cancel("d-1").failure.reason == "cancelled"
    assert client.cancel("d-1").state is State.FAILED
    assert client.deploy(bundle("v2"), "d-2").state is State.COMMITTED
    with pytest.raises(StateError, match="can no longer be cancelled"):
        client.cancel("d-2")


@pytest.mark.parametrize("request_name", ["Load", "Parity"])
def test_a_deployment_that_hangs_at_its_gate_can_be_withdrawn(client, bundle, request_name):
    client.stage(bundle(wishes={"hang_in": request_name}), "d-1")
    client.start("d-1")
    for event in client.watch("d-1"):
        if event.state is State.PARITY:
            break
    assert client.cancel("d-1").state is State.FAILED
    assert client.get("d-1").failure.reason == "cancelled"


def test_an_agent_stopped_in_the_middle_goes_on_when_it_is_back(state, bundle):
    with serve(state) as address, RawClient(address) as client:
        client.stage(bundle(wishes={"hang_in": "Parity"}), "d-1")
        client.start("d-1")
        for event in client.watch("d-1"):
            if event.state is State.PARITY:
                break
    journal = json.loads((state / "deployments/d-1.json").read_bytes())
    assert journal["deployment"]["state"] == "parity"
    with serve(state, parity_timeout_s=0.3) as address, RawClient(address) as client:
        events = list(client.watch("d-1"))
        assert any("restarted" in event.detail for event in events)
        assert events[-1].state is State.FAILED


def test_a_started_installation_survives_a_stop_before_its_first_step(state, bundle):
    with serve(state) as address, RawClient(address) as client:
        client.stage(bundle(), "d-1")
    path = state / "deployments/d-1.json"
    document = json.loads(path.read_bytes()) | {"started": True}
    path.write_bytes(json.dumps(document).encode())
    with serve(state) as address, RawClient(address) as client:
        assert list(client.watch("d-1"))[-1].state is State.COMMITTED


def test_a_damaged_journal_document_costs_that_deployment_only(state, bundle, caplog):
    with serve(state) as address, RawClient(address) as client:
        client.deploy(bundle("v1"), "d-1")
        client.deploy(bundle("v2"), "d-2")
    (state / "deployments/d-2.json").write_bytes(b"\x00" * 100)
    with serve(state) as address, RawClient(address) as client:
        deployments, current, _ = client.listing()
        assert current == str(release_of(bundle("v2")))
        assert [d.id for d in deployments if str(d.release) == current] == [
            f"restored-{release_of(bundle('v2')).short}-1"
        ]
        assert client.rollback().id == "d-1"
    assert "d-2.json is damaged" in caplog.text


def test_a_watcher_that_leaves_gives_its_thread_back(state, bundle):
    with serve(state, rpc_threads=2) as address, RawClient(address) as client:
        client.create(manifest_bytes(bundle()), "d-1")
        for _ in range(6):
            with RawClient(address) as watcher:
                stream = watcher.watch("d-1")
                assert next(stream).state is State.PLANNED
        assert client.deploy(bundle(), "d-1").state is State.COMMITTED


def test_an_agent_that_stops_tells_its_watchers_so(state, bundle):
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(serve(state))
        client = RawClient(address)
        client.create(manifest_bytes(bundle()), "d-1")
        events = client.watch("d-1")
        assert [next(events).state, next(events).state] == [State.PLANNED, State.STAGING]
        threading.Thread(target=stack.pop_all().close).start()
        with pytest.raises(UnreachableError, match="the agent is stopping"), client:
            next(events)
