"""Runs of the installed loop, through the real server."""

from __future__ import annotations

import os
import signal

import grpc
import pytest

from edgectl_protos.agent.v1 import profile_service_pb2
from edgectl_protos.codec.status import error_from_rpc
from edgectl_protos.codec.wire import from_wire
from edgectl_protos.common.v1 import loop_pb2
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import BundleError, BusyError, LoopSpecError, NotFoundError, StateError, UsageError
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.run import RunEvent, RunPhase
from edgectl_testkit.raw_client import RawClient, manifest_bytes
from edgectl_testkit.serve import serve


def worker_pids(state):
    return [int(path.name) for path in (state / "workers").iterdir()]


def next_phase(call, phase):
    """The first event of this phase."""
    for message in call:
        event = from_wire(RunEvent, message)
        if event.phase is phase:
            return event
    raise AssertionError(f"no {phase}")


def test_a_run_tells_its_phases_and_ends_with_a_summary_and_samples(client, bundle):
    client.deploy(bundle(), "d-1")
    events = list(client.run("r-1", LoopOverrides(measure_s=0.2, rate_hz=100.0)))
    assert [event.phase for event in events] == [
        *(RunPhase.LOADING, RunPhase.WARMING_UP, RunPhase.MEASURING, RunPhase.DONE)
    ]
    summary = events[-1].summary
    assert (summary.run_id, summary.deployment_id, summary.loop.rate_hz) == ("r-1", "d-1", 100.0)
    assert summary.facts.device == "bench"
    assert client.samples("r-1") == b"PK samples of r-1"
    assert client.samples("r-1", offset=11) == b"of r-1"


def test_a_finished_run_is_remembered_across_a_restart(state, bundle):
    with serve(state) as address, RawClient(address) as client:
        client.deploy(bundle(), "d-1")
        last = list(client.run("r-1"))[-1]
    with serve(state) as address, RawClient(address) as client:
        assert list(client.run("r-1")) == [last]
        assert list(client.watch_run("r-1", after=last.sequence)) == []
        assert client.samples("r-1")


def test_no_worker_is_started_by_a_restart_but_the_first_run_starts_one(state, bundle):
    with serve(state) as address, RawClient(address) as client:
        client.deploy(bundle(), "d-1")
        assert len(worker_pids(state)) == 1
    with serve(state) as address, RawClient(address) as client:
        assert client.listing()[1]
        assert worker_pids(state) == []
        assert list(client.run("r-1"))[-1].phase is RunPhase.DONE
        assert len(worker_pids(state)) == 1


def test_the_worker_that_passed_its_gates_is_the_one_that_runs(client, bundle, state):
    client.deploy(bundle(), "d-1")
    before = worker_pids(state)
    list(client.run("r-1"))
    assert worker_pids(state) == before


def test_named_releases_run_in_turns_each_in_its_own_warm_worker(client, bundle, state):
    releases = []
    for name in ("v1", "v2"):
        client.deploy(bundle(name), name)
        releases.append(client.listing()[1])
    pids = set()
    for number in range(4):
        last = list(client.run(f"r-{number}", release=releases[number % 2]))[-1]
        assert (str(last.summary.release), last.summary.deployment_id) == (releases[number % 2], f"v{number % 2 + 1}")
        pids |= set(worker_pids(state))
    assert len(pids) == len(worker_pids(state)) == 2
    assert client.listing()[1] == releases[1]
    # Nobody compares any more: the memory is given back.
    list(client.run("plain"))
    assert len(worker_pids(state)) == 1


def test_a_release_that_is_not_kept_is_not_run_nor_one_that_failed(client, bundle):
    client.deploy(bundle("v1"), "d-1")
    failed = client.deploy(bundle("v2", wishes={"parity_error": 1.0}), "d-2")
    assert failed.state is State.FAILED
    for release in (str(failed.release), "sha256:" + "0" * 64):
        with pytest.raises(StateError, match="does not keep release"):
            list(client.run("r-1", release=release))
    with pytest.raises(BundleError):
        list(client.run("r-1", release="v1"))
    assert list(client.run("r-2"))[-1].phase is RunPhase.DONE


def test_a_second_run_finds_the_device_busy_and_so_does_a_deployment(client, bundle, address):
    client.deploy(bundle("v1", wishes={"run_s": 30}), "d-1")
    client.create_run("r-1", owner="alice")
    next_phase(client.run_call("r-1"), RunPhase.MEASURING)
    with RawClient(address) as other:
        with pytest.raises(BusyError, match="run r-1 of alice is measuring"):
            list(other.run("r-2"))
        with pytest.raises(BusyError, match="run r-1 of alice is measuring"):
            other.create(manifest_bytes(bundle("v2")), "d-2")
        with pytest.raises(BusyError):
            other.rollback()


def test_a_run_finds_the_device_busy_while_a_deployment_holds_it(client, bundle):
    client.deploy(bundle("v1"), "d-1")
    client.stage(bundle("v2"), "d-2", owner="alice")
    with pytest.raises(BusyError, match="d-2 of alice"):
        list(client.run("r-1"))


def test_a_cancelled_run_ends_and_frees_the_device(client, bundle, state):
    client.deploy(bundle(wishes={"run_s": 30}), "d-1")
    client.create_run("r-1")
    next_phase(client.run_call("r-1"), RunPhase.MEASURING)
    (pid,) = worker_pids(state)
    assert client.cancel_run("r-1").failure.reason == "cancelled"
    assert client.deploy(bundle("v2"), "d-2").state is State.COMMITTED
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert list(client.run("r-1"))[-1].failure.message == "run r-1 was withdrawn"


def test_a_run_that_is_cancelled_while_it_loads_ends_too(client, bundle):
    client.deploy(bundle(), "d-1")
    client.deploy(bundle("slow", wishes={"hang_in": "Run"}), "d-2")
    client.create_run("r-1")
    assert client.cancel_run("r-1").phase is RunPhase.FAILED
    assert [run.run_id for run in client.runs()] == ["r-1"]


def test_a_call_that_ends_does_not_end_its_run(client, bundle):
    client.deploy(bundle(wishes={"run_s": 0.5}), "d-1")
    client.create_run("r-1")
    call = client.run_call("r-1")
    next_phase(call, RunPhase.MEASURING)
    call.cancel()
    assert [event.phase for event in client.watch_run("r-1", after=3)] == [RunPhase.DONE]
    assert client.samples("r-1")


def test_a_run_that_its_agent_did_not_survive_has_an_end_at_the_next_start(state, bundle):
    with serve(state) as address, RawClient(address) as client:
        client.deploy(bundle(wishes={"run_s": 30}), "d-1")
        client.create_run("r-1")
        next_phase(client.run_call("r-1"), RunPhase.MEASURING)
        written = (state / "runs" / "r-1.json").read_bytes()
    # As a kill leaves it, instead of the end that a stop writes.
    (state / "runs" / "r-1.json").write_bytes(written)
    with serve(state) as address, RawClient(address) as client:
        (last,) = client.watch_run("r-1", after=3)
        assert last.failure.message == "the agent restarted while run r-1 was going"
        assert client.runs()[0].phase is RunPhase.FAILED


def test_runs_are_listed_the_newest_first_with_whose_they_are(client, bundle):
    client.deploy(bundle(wishes={"fail": {"Run": ["source_failed", "the video ends"]}}), "d-1")
    for number in range(3):
        client.create_run(f"r-{number}", owner="alice")
        list(client.watch_run(f"r-{number}"))
    found = client.runs()
    assert [run.run_id for run in found] == ["r-2", "r-1", "r-0"]
    assert {(run.owner, run.failure.reason, run.name) for run in found} == {("alice", "source_failed", "v1")}


def test_a_run_id_stands_for_one_release(client, bundle):
    client.deploy(bundle("v1"), "d-1")
    client.deploy(bundle("v2"), "d-2")
    _, current, previous = client.listing()
    list(client.run("r-1", release=current))
    with pytest.raises(UsageError, match="run r-1 is of release"):
        client.create_run("r-1", release=previous)


def test_a_worker_killed_in_mid_run_costs_its_run_and_not_the_agent(client, bundle, state):
    client.deploy(bundle("v1", wishes={"run_s": 30}), "d-1")
    client.create_run("r-1")
    call = client.run_call("r-1")
    next_phase(call, RunPhase.MEASURING)
    (pid,) = worker_pids(state)
    os.kill(pid, signal.SIGKILL)
    failed = next_phase(call, RunPhase.FAILED)
    assert failed.failure.reason == "worker_crashed"
    assert "SIGKILL" in failed.failure.message
    assert "stub: Run" in failed.failure.hint
    assert client.get("d-1").state is State.COMMITTED
    assert client.deploy(bundle("v2"), "d-2").state is State.COMMITTED
    assert list(client.run("r-2"))[-1].phase is RunPhase.DONE


def test_a_run_that_fails_costs_its_worker_so_that_the_next_begins_anew(client, bundle, state):
    client.deploy(bundle(wishes={"fail": {"Run": ["device_failed", "it cannot start so many threads"]}}), "d-1")
    (before,) = worker_pids(state)
    assert list(client.run("r-1"))[-1].phase is RunPhase.FAILED
    assert worker_pids(state) == []
    list(client.run("r-2"))
    assert before not in worker_pids(state)


def test_a_run_that_fails_says_why_and_is_remembered(client, bundle):
    client.deploy(bundle(wishes={"fail": {"Run": ["source_failed", "the video ends"]}}), "d-1")
    for _ in range(2):
        last = list(client.run("r-1"))[-1]
        assert (last.phase, last.failure.reason) == (RunPhase.FAILED, "source_failed")
    with pytest.raises(NotFoundError, match="no samples of run 'r-1'"):
        client.samples("r-1")


def test_overrides_that_make_no_sense_fail_before_a_worker_is_asked(client, bundle):
    client.deploy(bundle(), "d-1")
    for changes in ({"rate_hz": -1.0}, {"rate_hz": float("nan")}, {"threads": 2**31 - 1}, {"measure_s": 1e9}):
        request = profile_service_pb2.CreateRunRequest(run_id="r-1", overrides=loop_pb2.LoopOverrides(**changes))
        with pytest.raises(grpc.RpcError) as caught:
            client.profile.Create(request)
        assert type(error_from_rpc(caught.value, device="bench")) is LoopSpecError
    assert list(client.run("r-2"))[-1].phase is RunPhase.DONE


def test_a_run_that_hangs_ends_at_its_deadline(state, bundle):
    with serve(state, run_margin_s=0.2) as address, RawClient(address) as client:
        client.deploy(bundle(wishes={"run_s": 30}), "d-1")
        last = list(client.run("r-1"))[-1]
    assert "did not answer Run in time" in last.failure.message


def test_only_the_last_runs_are_kept(state, bundle):
    with serve(state, runs_kept=2) as address, RawClient(address) as client:
        client.deploy(bundle(), "d-1")
        for number in range(4):
            list(client.run(f"r-{number}"))
    assert sorted(path.name for path in (state / "runs").iterdir()) == ["r-2.json", "r-2.npz", "r-3.json", "r-3.npz"]


def test_names_and_offsets_that_reach_elsewhere_are_refused(client, bundle):
    client.deploy(bundle(), "d-1")
    with pytest.raises(UsageError):
        client.samples("../deployments/d-1")
    with pytest.raises(UsageError):
        list(client.run("../r"))
    list(client.run("r-1"))
    with pytest.raises(UsageError, match="offset -1"):
        client.samples("r-1", offset=-1)


def test_with_nothing_installed_there_is_nothing_to_run(client):
    with pytest.raises(StateError, match="nothing is installed") as caught:
        list(client.run("r-1"))
    assert "edgectl deploy" in caught.value.hint


def test_an_agent_that_stops_ends_its_run(state, bundle):
    with serve(state) as address, RawClient(address) as client:
        client.deploy(bundle(wishes={"run_s": 30}), "d-1")
        client.create_run("r-1")
        next_phase(client.run_call("r-1"), RunPhase.MEASURING)
        (pid,) = worker_pids(state)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
