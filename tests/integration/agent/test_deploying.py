"""An installation from its first call to the installed release, through the real server."""

from __future__ import annotations

import sys

import pytest

from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import StateError, UsageError
from edgectl_testkit.raw_client import RawClient, manifest_bytes, manifest_of, release_of
from edgectl_testkit.serve import serve
from edgectl_testkit.stub_bundles import Part


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


def test_creating_twice_finds_the_deployment_and_another_release_of_its_id_is_refused(client, bundle):
    first = client.create(manifest_bytes(bundle("v1")), "d-1")
    assert client.create(manifest_bytes(bundle("v1")), "d-1") == first
    assert client.create(manifest_bytes(bundle("v1")), "d-2") == first
    with pytest.raises(UsageError, match="d-1 is of release"):
        client.create(manifest_bytes(bundle("v2")), "d-1")


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


def test_a_gate_that_hangs_ends_at_its_deadline(state, bundle):
    with serve(state, parity_timeout_s=0.3) as address, RawClient(address) as client:
        failed = client.deploy(bundle(wishes={"hang_in": "Parity"}), "d-1")
    assert failed.failure.reason == "worker_crashed"
    assert "did not answer Parity in time" in failed.failure.message
