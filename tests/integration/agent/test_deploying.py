"""Installing, refusing, withdrawing and rolling back, through the real server."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import threading
from concurrent import futures

import grpc
import pytest

from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import MANIFEST_NAME, BuildRecipe
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundlePathError,
    BusyError,
    DiskFullError,
    LoopSpecError,
    NotFoundError,
    ProtocolError,
    RuntimeMissingError,
    StateError,
    UnreachableError,
    UsageError,
)
from edgectl_testkit.raw_client import RawClient, chunks_of, frame_of, manifest_of
from edgectl_testkit.serve import serve
from edgectl_testkit.stub_bundles import Part, stub_loop


def release_of(bundle):
    return Digest(hashlib.sha256((bundle / MANIFEST_NAME).read_bytes()).hexdigest())


def manifest_bytes(bundle):
    return (bundle / MANIFEST_NAME).read_bytes()


def test_a_host_of_another_protocol_is_refused(client):
    with pytest.raises(ProtocolError, match="speaks protocol 2 to 3, agent"):
        client.hello(2, 3)
    assert client.hello(1, 9).protocol_max == 1


def test_every_step_of_an_installation_is_told_once_and_in_order(client, bundle):
    client.stage(bundle(), "d-1")
    client.start("d-1")
    events = list(client.watch("d-1"))
    assert [event.state.value for event in events] == [
        *("planned", "staging", "verified", "building", "parity", "wait_window"),
        *("activating", "probation", "committed"),
    ]
    assert [event.sequence for event in events] == sorted(event.sequence for event in events)
    assert "parity: action[0] is off by" in next(e.detail for e in events if e.state is State.WAIT_WINDOW)


def test_events_wait_for_their_host_across_a_restart_of_the_agent(state, bundle):
    with serve(state) as address, RawClient(address) as client:
        client.stage(bundle(), "d-1")
        client.start("d-1")
        events = list(client.watch("d-1"))
        client.acknowledge("d-1", events[3].sequence)
    with serve(state) as address, RawClient(address) as client:
        assert list(client.watch("d-1")) == events[4:]
        assert list(client.watch("d-1", after=events[6].sequence)) == events[7:]


def test_a_release_without_golden_cases_is_installed_and_said_not_to_be_proved(client, bundle):
    client.stage(bundle(golden=False), "d-1")
    client.start("d-1")
    events = list(client.watch("d-1"))
    assert any("not compared" in event.detail for event in events)
    assert client.get("d-1").state is State.COMMITTED


@pytest.mark.parametrize(
    ("wishes", "reason", "said"),
    [
        ({"parity_error": 0.02}, "parity_failed", "executed: rmse 0.02 in action[0] (limit 0.005)"),
        ({"precisions": {"full": "bf16"}}, "precision_refused", "fp32 was asked for"),
        ({"forget": "full"}, "precision_refused", "component 'full' was not loaded"),
        ({"fail": {"Load": ["operator_unsupported", "no such op"]}}, "operator_unsupported", "no such op"),
        ({"fail": {"Parity": ["output_not_finite", "NaN"]}}, "output_not_finite", "NaN"),
        ({"die_in": "Load"}, "worker_crashed", "SIGSEGV"),
        ({"die_in": "Parity"}, "worker_crashed", "SIGSEGV"),
    ],
)
def test_a_gate_that_says_no_leaves_the_old_release_installed(client, bundle, wishes, reason, said):
    old = bundle("v1")
    client.deploy(old, "d-1")
    refused = client.deploy(bundle("v2", wishes=wishes), "d-2")
    assert refused.state is State.FAILED
    assert refused.failure.reason == reason
    assert said in refused.failure.message
    _, current, previous = client.listing()
    assert (current, previous) == (str(release_of(old)), "")
    assert [event.phase.value for event in client.run("r")][-1] == "done"


@pytest.mark.parametrize("wishes", [{"die_in": "Smoke"}, {"fail": {"Smoke": ["source_failed", "no frames"]}}])
def test_a_release_that_fails_its_probation_is_rolled_back_with_both_links_as_before(client, bundle, wishes):
    client.deploy(bundle("v0"), "d-0")
    client.deploy(bundle("v1"), "d-1")
    links = client.listing()[1:]
    failed = client.deploy(bundle("v2", wishes=wishes), "d-2")
    assert failed.state is State.ROLLED_BACK
    assert failed.failure is not None
    assert failed.previous == release_of(bundle("v1"))
    assert client.listing()[1:] == links


def test_a_first_release_that_fails_its_probation_leaves_nothing_installed(client, bundle, state):
    assert client.deploy(bundle(wishes={"die_in": "Smoke"}), "d-1").state is State.ROLLED_BACK
    assert client.listing()[1:] == ("", "")
    assert not (state / "current").exists()
    with pytest.raises(StateError, match="nothing is installed"):
        list(client.run("r"))


def test_a_runtime_that_is_not_there_is_refused_before_a_byte_is_sent(client, bundle):
    with pytest.raises(RuntimeMissingError, match="'tensorrt' for component 'full'; it has: broken, side, stub"):
        client.create(manifest_bytes(bundle(runtime="tensorrt")), "d-1")
    with pytest.raises(RuntimeMissingError, match="its library does not load"):
        client.create(manifest_bytes(bundle("b", runtime="broken")), "d-1")
    with pytest.raises(RuntimeMissingError, match="no bf16 kernels"):
        client.create(manifest_bytes(bundle("c", scheme="bf16")), "d-1")
    assert client.listing()[0] == []


def test_two_components_on_two_runtimes_are_installed_and_each_says_what_it_is(client, bundle):
    parts = (Part("vision"), Part("denoise", "side", "w8a8", passes=10))
    installed = client.deploy(bundle(parts=parts), "d-1")
    assert installed.state is State.COMMITTED
    assert [(c.name, c.runtime, c.scheme, c.precision, c.provider) for c in installed.components] == [
        ("vision", "stub", "fp32", "fp32", "none"),
        ("denoise", "side", "w8a8", "int8", "none"),
    ]
    assert list(client.run("r"))[-1].summary.components == installed.components


def test_a_runtime_of_another_interpreter_is_lent_to_the_worker(state, bundle, tmp_path):
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    parts = (Part("vision"), Part("denoise", "side", passes=10))
    with serve(state, interpreters={"side": str(other)}) as address, RawClient(address) as client:
        installed = client.deploy(bundle(parts=parts), "d-1")
    # The worker runs where the denoiser lives, ten calls an inference; the stub says who lends it the other one.
    assert [component.provider for component in installed.components] == [sys.executable, "none"]


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


def test_creating_twice_finds_the_deployment_and_another_release_of_its_id_is_refused(client, bundle):
    first = client.create(manifest_bytes(bundle("v1")), "d-1")
    assert client.create(manifest_bytes(bundle("v1")), "d-1") == first
    assert client.create(manifest_bytes(bundle("v1")), "d-2") == first
    with pytest.raises(UsageError, match="d-1 is of release"):
        client.create(manifest_bytes(bundle("v2")), "d-1")


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


def test_starting_what_is_not_there_yet_names_a_file(client, bundle):
    client.create(manifest_bytes(bundle()), "d-1")
    with pytest.raises(StateError, match=r"lacks 4 files, components/full/model\.bin"):
        client.start("d-1")


def test_starting_twice_is_starting_once(client, bundle):
    client.stage(bundle(), "d-1")
    client.start("d-1")
    client.start("d-1")
    assert list(client.watch("d-1"))[-1].state is State.COMMITTED
    assert client.start("d-1").state is State.COMMITTED


def test_a_blob_altered_between_upload_and_start_is_found_and_asked_for_again(client, bundle, state):
    client.stage(bundle(), "d-1")
    digest = manifest_of(bundle()).file("components/full/model.bin").digest
    path = state / "blobs/sha256" / digest.hex
    path.chmod(0o600)
    path.write_bytes(b"?" + path.read_bytes()[1:])
    with pytest.raises(StateError, match=r"lacks 1 files, components/full/model\.bin"):
        client.start("d-1")
    assert client.deploy(bundle(), "d-1").state is State.COMMITTED


def test_an_installed_release_that_rotted_on_the_disk_is_installed_anew(client, bundle, state):
    client.deploy(bundle("v0"), "d-0")
    client.deploy(bundle("v1"), "d-1")
    links = client.listing()[1:]
    assert client.create(manifest_bytes(bundle("v1")), "d-2").id == "d-1"
    path = state / "current/components/full/model.bin"
    good = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(b"?" + good[1:])
    again = client.deploy(bundle("v1"), "d-3")
    assert (again.id, again.state) == ("d-3", State.COMMITTED)
    assert path.read_bytes() == good
    assert client.listing()[1:] == links


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


def test_a_gate_that_hangs_ends_at_its_deadline(state, bundle):
    with serve(state, parity_timeout_s=0.3) as address, RawClient(address) as client:
        failed = client.deploy(bundle(wishes={"hang_in": "Parity"}), "d-1")
    assert failed.failure.reason == "worker_crashed"
    assert "did not answer Parity in time" in failed.failure.message


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


def test_rolling_back_swaps_the_releases_and_back(client, bundle):
    one, two = (str(release_of(bundle(name))) for name in ("v1", "v2"))
    client.deploy(bundle("v1"), "d-1")
    client.deploy(bundle("v2"), "d-2")
    restored = client.rollback(owner="carol")
    assert (restored.id, restored.state) == ("d-1", State.COMMITTED)
    assert client.listing()[1:] == (one, two)
    undone = client.get("d-2")
    assert undone.state is State.ROLLED_BACK
    assert "carol" in undone.failure.message
    again = client.rollback(owner="carol")
    assert (str(again.release), again.state, again.owner) == (two, State.COMMITTED, "carol")
    assert [component.precision for component in again.components] == ["fp32"]
    assert client.listing()[1:] == (two, one)


def test_without_a_previous_release_there_is_nothing_to_roll_back_to(client, bundle):
    with pytest.raises(StateError, match="no previous release"):
        client.rollback()
    client.deploy(bundle(), "d-1")
    with pytest.raises(StateError, match="no previous release") as caught:
        client.rollback()
    assert "edgectl deploy" in caught.value.hint
    assert client.deploy(bundle("v2"), "d-2").state is State.COMMITTED


def test_a_previous_release_that_does_not_run_any_more_is_not_put_back(client, bundle, state):
    client.deploy(bundle("v1"), "d-1")
    client.deploy(bundle("v2"), "d-2")
    links = client.listing()[1:]
    path = state / "previous" / "components/full/model.bin"
    path.chmod(0o600)
    path.write_bytes(b"altered")
    with pytest.raises(BundleCorruptError, match=r"model\.bin"):
        client.rollback()
    assert client.listing()[1:] == links
    assert [event.phase.value for event in client.run("r")][-1] == "done"


@pytest.mark.parametrize(("releases_kept", "names"), [(1, ("v2", "v3")), (3, ("v1", "v2", "v3"))])
def test_linked_releases_and_the_newest_stay_on_the_disk_and_no_other(state, bundle, releases_kept, names):
    with serve(state, releases_kept=releases_kept) as address, RawClient(address) as client:
        for number in range(4):
            client.deploy(bundle(f"v{number}"), f"d-{number}")
    kept = {release_of(bundle(name)).hex for name in names}
    assert {path.name for path in (state / "releases").iterdir()} == kept
    blobs = {path.name for path in (state / "blobs/sha256").iterdir()}
    needed = {e.digest.hex for name in names for e in manifest_of(bundle(name)).files} | kept
    assert blobs == needed


def test_history_is_bounded_but_what_is_installed_is_remembered(state, bundle):
    with serve(state, deployments_kept=2) as address, RawClient(address) as client:
        client.deploy(bundle("v1"), "d-1")
        for number in range(4):
            client.create(manifest_bytes(bundle("v2")), f"x-{number}")
            client.cancel(f"x-{number}")
        assert [d.id for d in client.listing()[0]] == ["x-3", "x-2", "d-1"]
        with pytest.raises(NotFoundError, match="x-0"):
            client.get("x-0")


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


def test_no_room_is_refused_before_anything_is_sent(state, bundle):
    with serve(state, reserve_bytes=1 << 60) as address, RawClient(address) as client:
        with pytest.raises(DiskFullError, match="needs .* bytes more") as caught:
            client.create(manifest_bytes(bundle()), "d-1")
        assert "free some space" in caught.value.hint
        assert client.listing()[0] == []


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


def test_an_unknown_call_is_unimplemented_not_a_crash(client):
    method = client.channel.unary_unary("/edgectl.agent.v1.InfoService/Reboot")
    with pytest.raises(grpc.RpcError) as caught:
        method(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
