"""What only the device can build: built once, kept, built anew when the device is another; and every way it fails."""

from __future__ import annotations

import threading

import pytest

from edgectl_protos.domain.bundle import BuildRecipe
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import DiskFullError
from edgectl_protos.domain.run import RunPhase
from edgectl_protos.worker.family import born
from edgectl_testkit.raw_client import RawClient, manifest_bytes, manifest_of
from edgectl_testkit.serve import serve
from edgectl_testkit.stub_bundles import Part

PARTS = (Part(recipe=BuildRecipe("stub", {"workspace_mib": "512"})),)
SAME = {"components/full/model.bin": b"the same component in every release"}


def derived(state):
    """Names of what was built, and of what a build left."""
    return sorted(path.name for path in (state / "derived").iterdir())


def told(client, release, deployment, of=State.PARITY):
    """Deploy, and what was told in a state: a host that acknowledges forgets it."""
    client.stage(release, deployment)
    client.start(deployment)
    events = list(client.watch(deployment))
    assert events[-1].state is State.COMMITTED
    return [event.detail for event in events if event.state is of]


def phases(client, run):
    return [event.phase for event in client.run(run)]


@pytest.fixture
def installed(client, bundle):
    """A release is installed; nothing of it had to be built."""
    assert client.deploy(bundle("v1"), "d-1").state is State.COMMITTED
    return client.listing()[1]


def test_a_part_is_built_told_step_by_step_and_loaded(client, bundle, state):
    said = told(client, bundle(parts=PARTS, wishes={"steps": [0.01, 0.3, 0.31, 1.0]}), "d-1", State.BUILDING)
    # One note a tenth at most, since each is a synced write.
    assert said[1:] == [
        "building 'full' with stub (version 1.0), which takes minutes",
        "building 'full': 30%",
        "building 'full': 100%",
    ]
    (key,) = derived(state)
    assert (state / "derived" / key / "engine.bin").read_bytes().startswith(b"built from full of v1")
    assert phases(client, "r")[-1] is RunPhase.DONE


def test_the_same_part_of_another_release_is_not_built_again(client, bundle, state):
    client.deploy(bundle("v1", parts=PARTS, extra=SAME), "d-1")
    before = derived(state)
    said = told(client, bundle("v2", parts=PARTS, extra=SAME), "d-2")
    assert said == ["'full' with stub (version 1.0) was built before"]
    assert derived(state) == before


@pytest.mark.parametrize("change", ["recipe", "bytes", "scheme"])
def test_another_recipe_component_or_scheme_is_another_build(client, bundle, state, change):
    client.deploy(bundle("v1", parts=PARTS, extra=SAME), "d-1")
    parts = (Part(recipe=BuildRecipe("stub", {"workspace_mib": "64"})),) if change == "recipe" else PARTS
    if change == "scheme":
        parts = (Part(scheme="int8", recipe=PARTS[0].recipe),)
    extra = {"components/full/model.bin": b"other weights"} if change == "bytes" else SAME
    assert client.deploy(bundle("v2", parts=parts, extra=extra), "d-2").state is State.COMMITTED
    assert len(derived(state)) == 2


def test_what_no_release_needs_any_more_goes(state, bundle):
    with serve(state, releases_kept=0) as address, RawClient(address) as client:
        for number in range(4):
            assert client.deploy(bundle(f"v{number}", parts=PARTS), f"d-{number}").state is State.COMMITTED
        # The installed release and the one before it.
        assert len(derived(state)) == 2
        client.deploy(bundle("plain"), "d-8")
        client.deploy(bundle("plain too"), "d-9")
    assert derived(state) == []


@pytest.mark.parametrize(
    ("wishes", "reason", "said"),
    [
        ({"fail": {"Build": ["operator_unsupported", "no Frobnicate"]}}, "operator_unsupported", "no Frobnicate"),
        ({"fail": {"Build": ["disk_full", "no space left"]}}, "disk_full", "no space left"),
        ({"fail": {"Build": ["precision_refused", "fp32 kernels"]}}, "precision_refused", "fp32 kernels"),
        ({"die_in": "Build"}, "build_failed", "the builder of 'full' died: .*SIGSEGV"),
        ({"killed_in": "Build"}, "build_failed", "killed by the system .SIGKILL., most likely for want of memory"),
        ({"writes": False}, "build_failed", "says that it wrote 'engine.bin', and it did not"),
    ],
)
def test_a_build_that_fails_is_named_and_leaves_nothing(client, bundle, state, installed, wishes, reason, said):
    refused = client.deploy(bundle("v2", parts=PARTS, wishes=wishes), "d-2")
    assert (refused.state, refused.failure.reason) == (State.FAILED, reason)
    assert pytest.raises(ValueError, match=said).matches(ValueError(refused.failure.message))
    assert derived(state) == []
    assert client.listing()[1] == installed
    assert phases(client, "r")[-1] is RunPhase.DONE


def test_what_a_builder_started_ends_before_what_it_built_is_looked_at(client, bundle, state, tmp_path):
    told = tmp_path / "left"
    deployed = client.deploy(bundle(parts=PARTS, wishes={"leaves": str(told)}), "d-1")
    assert (deployed.state, deployed.failure) == (State.COMMITTED, None)
    assert not born(int(told.read_text()))
    assert len(derived(state)) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"build_timeout_s": 0.3}, "building 'full' did not end within 0 s and was ended"),
        ({"build_spare_bytes": 1 << 60}, "MiB of memory, and .* MiB are kept for the loop"),
    ],
)
def test_a_builder_without_end_or_measure_is_ended(state, bundle, changes, said):
    with serve(state, **changes) as address, RawClient(address) as client:
        client.deploy(bundle("v1"), "d-1")
        refused = client.deploy(bundle("v2", parts=PARTS, wishes={"hang_in": "Build"}), "d-2")
        assert (refused.state, refused.failure.reason) == (State.FAILED, "build_failed")
        assert pytest.raises(ValueError, match=said).matches(ValueError(refused.failure.message))
        assert phases(client, "r")[-1] is RunPhase.DONE
    assert derived(state) == []


def building(client, deployment):
    """Wait until the builder works."""
    for event in client.watch(deployment):
        if "which takes minutes" in event.detail:
            return


def test_a_build_can_be_cancelled(client, bundle, state, installed):
    client.stage(bundle("v2", parts=PARTS, wishes={"hang_in": "Build"}), "d-2")
    client.start("d-2")
    building(client, "d-2")
    ended = client.cancel("d-2")
    assert (ended.state, ended.failure.reason) == (State.FAILED, "cancelled")
    assert "while building" in ended.failure.message
    assert derived(state) == []
    assert client.listing()[1] == installed


def test_a_build_that_a_restart_interrupts_is_done_again(state, bundle):
    wishes = {"hang_in": "Build"}
    with serve(state) as address, RawClient(address) as client:
        client.stage(bundle(parts=PARTS, wishes=wishes), "d-1")
        client.start("d-1")
        building(client, "d-1")
        assert list((state / "scratch").glob("*/built"))
    with serve(state) as address, RawClient(address) as client:
        seen = threading.Event()

        def watch():
            notes = 0
            for event in client.watch("d-1"):
                notes += "which takes minutes" in event.detail
                if notes == 2:
                    seen.set()
                    return

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        assert seen.wait(20)
        client.cancel("d-1")
        thread.join()
    assert derived(state) == []


def test_what_was_built_for_another_version_is_never_loaded_and_a_deployment_builds_it_anew(state, bundle, monkeypatch):
    release = bundle("v1", parts=PARTS)
    with serve(state) as address, RawClient(address) as client:
        client.deploy(release, "d-1")
    before = derived(state)
    monkeypatch.setenv("EDGECTL_STUB_VERSION", "2.0")
    with serve(state) as address, RawClient(address) as client:
        last = list(client.run("r"))[-1]
        assert last.phase is RunPhase.FAILED
        assert "not built for this device as it is now" in last.failure.message
        # Installed it is, and yet not here: the same release is taken once more.
        said = told(client, release, "d-2")
        assert said == ["built 'full' with stub (version 2.0) in 0 s (2 layers fp32)"]
        assert phases(client, "r-2")[-1] is RunPhase.DONE
    after = derived(state)
    assert len(after) == 1
    assert after != before


def test_what_was_altered_on_the_disk_is_built_anew(state, bundle):
    release = bundle("v1", parts=PARTS)
    with serve(state) as address, RawClient(address) as client:
        client.deploy(release, "d-1")
        assert client.deploy(release, "d-2").id == "d-1"
        (key,) = derived(state)
        engine = state / "derived" / key / "engine.bin"
        whole = engine.read_bytes()
        engine.write_bytes(whole[:-1] + b"!")
        assert client.deploy(release, "d-3").id == "d-3"
        assert engine.read_bytes() == whole


def test_room_for_what_will_be_built_is_asked_for_before_a_byte_is_sent(state, bundle):
    release = bundle(parts=PARTS)
    data = manifest_bytes(release)
    built = manifest_of(release).file("components/full/model.bin").size_bytes
    with serve(state) as address, RawClient(address) as client:
        client.create(data, "d-1")
        client.cancel("d-1")
    needed = sum(entry.size_bytes for entry in manifest_of(release).files) + built
    full = pytest.raises(DiskFullError, match=f"needs {needed:,} bytes more")
    with serve(state, reserve_bytes=1 << 60) as address, RawClient(address) as client, full:
        client.create(data, "d-2")


def test_a_device_without_room_for_what_is_built_says_so_before_it_builds(state, bundle):
    with serve(state) as address, RawClient(address) as client:
        client.stage(bundle(parts=PARTS), "d-1")
    # Of the disk less is left than everybody must leave.
    with serve(state, reserve_bytes=1 << 60) as address, RawClient(address) as client:
        client.start("d-1")
        assert "1,152,921,504,606,846,976 stay in reserve" in list(client.watch("d-1"))[-1].failure.message
        assert client.get("d-1").failure.reason == "disk_full"
    assert derived(state) == []
