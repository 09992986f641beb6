"""What every DeviceClient must do. Bind it: `class TestX(DeviceClientContract)` with a fixture `client`.

The fixture `connect` gives further connections to the same device. Bundles are real ones for the `reference` runtime.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from edgectl_converters.bundle import blob_path, chunks_of
from edgectl_host.transport.base import DeviceClient
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundleError,
    BusyError,
    NotFoundError,
    StateError,
)
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.run import RunPhase
from edgectl_testkit.bundles import tiny_bundle

Bundle = tuple[Path, bytes]


def new_id() -> str:
    return uuid.uuid4().hex


def blobs_of(bundle: Bundle):
    manifest = from_bytes(Manifest, bundle[1], what=MANIFEST_NAME)
    return {entry.digest: blob_path(bundle[0], entry.digest) for entry in manifest.files}


def send(client: DeviceClient, deployment_id: str, bundle: Bundle) -> None:
    for digest, path in blobs_of(bundle).items():
        chunks = chunks_of(path)
        offered = client.offer(deployment_id, digest, path.stat().st_size, chunks)
        data = path.read_bytes()
        cuts = [(i, data[chunks[i].offset : chunks[i].offset + chunks[i].size_bytes]) for i in offered.missing]
        if cuts:
            client.upload(deployment_id, digest, cuts)
        client.commit(deployment_id, digest)


def install(client: DeviceClient, bundle: Bundle) -> str:
    deployment = client.create(bundle[1], owner="someone@here", deployment_id=new_id())
    send(client, deployment.id, bundle)
    client.start(deployment.id)
    for _ in client.watch(deployment.id):
        pass
    final = client.get(deployment.id)
    assert final.state is State.COMMITTED, final.failure
    return deployment.id


class DeviceClientContract:
    """Inherited by one test class per implementation."""

    @pytest.fixture
    def bundle(self, tmp_path: Path) -> Bundle:
        return tiny_bundle(tmp_path / "bundle")

    @pytest.fixture
    def other(self, tmp_path: Path) -> Bundle:
        return tiny_bundle(tmp_path / "other", name="other")

    def test_hello_names_the_device_and_a_protocol_range(self, client):
        reply = client.hello()
        assert reply.device
        assert 1 in range(reply.protocol_min, reply.protocol_max + 1)

    def test_facts_name_machine_and_runtimes(self, client):
        facts = client.facts(refresh=True)
        assert facts.device == client.hello().device
        assert facts.machine_id
        assert facts.runtime("reference") is not None

    def test_a_fresh_device_has_nothing_installed(self, client):
        installed = client.installed()
        assert (installed.deployments, installed.current, installed.previous) == ((), None, None)

    def test_create_plans_the_release_of_the_manifest_for_its_owner(self, client, bundle):
        deployment_id = new_id()
        deployment = client.create(bundle[1], owner="someone@here", deployment_id=deployment_id)
        assert deployment.id == deployment_id
        assert deployment.owner == "someone@here"
        assert deployment.state in (State.PLANNED, State.STAGING)
        assert client.get(deployment_id).release == deployment.release

    def test_create_again_with_another_id_finds_the_deployment_in_flight(self, client, bundle):
        first = client.create(bundle[1], owner="a", deployment_id=new_id())
        second = client.create(bundle[1], owner="a", deployment_id=new_id())
        assert second.id == first.id

    def test_another_release_finds_the_device_busy_and_learns_with_whom(self, client, bundle, other):
        client.create(bundle[1], owner="alice@lab", deployment_id=new_id())
        with pytest.raises(BusyError, match="alice@lab"):
            client.create(other[1], owner="bob", deployment_id=new_id())

    @pytest.mark.parametrize("manifest", [b"", b"{}", b"\xff\x00", b'{"schema": "other"}'])
    def test_what_is_no_manifest_is_refused(self, client, manifest):
        with pytest.raises(BundleError):
            client.create(manifest, owner="a", deployment_id=new_id())

    def test_an_offer_answers_only_what_is_missing(self, client, bundle):
        deployment = client.create(bundle[1], owner="a", deployment_id=new_id())
        digest, path = next(iter(blobs_of(bundle).items()))
        chunks, size_bytes = chunks_of(path), path.stat().st_size
        assert client.offer(deployment.id, digest, size_bytes, chunks).missing == (0,)
        client.upload(deployment.id, digest, [(0, path.read_bytes())])
        offered = client.offer(deployment.id, digest, size_bytes, chunks)
        assert (offered.complete, offered.missing) == (False, ())
        client.commit(deployment.id, digest)
        assert client.offer(deployment.id, digest, size_bytes, chunks).complete

    def test_a_blob_that_the_release_does_not_hold_is_refused(self, client, bundle):
        deployment = client.create(bundle[1], owner="a", deployment_id=new_id())
        path = next(iter(blobs_of(bundle).values()))
        with pytest.raises(NotFoundError):
            client.offer(deployment.id, Digest("0" * 64), path.stat().st_size, chunks_of(path))

    def test_a_chunk_that_differs_from_the_offer_is_refused(self, client, bundle):
        deployment = client.create(bundle[1], owner="a", deployment_id=new_id())
        digest, path = next(iter(blobs_of(bundle).items()))
        client.offer(deployment.id, digest, path.stat().st_size, chunks_of(path))
        altered = bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]
        with pytest.raises(BundleCorruptError):
            client.upload(deployment.id, digest, [(0, altered)])

    def test_a_blob_that_does_not_match_its_digest_is_dropped(self, client, bundle, tmp_path):
        deployment = client.create(bundle[1], owner="a", deployment_id=new_id())
        digest, path = next(iter(blobs_of(bundle).items()))
        wrong = tmp_path / "wrong"
        wrong.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
        client.offer(deployment.id, digest, path.stat().st_size, chunks_of(wrong))
        client.upload(deployment.id, digest, [(0, wrong.read_bytes())])
        with pytest.raises(BundleCorruptError):
            client.commit(deployment.id, digest)
        assert client.offer(deployment.id, digest, path.stat().st_size, chunks_of(path)).missing == (0,)

    def test_an_error_of_the_sender_reaches_the_sender_as_it_is(self, client, bundle):
        deployment = client.create(bundle[1], owner="a", deployment_id=new_id())
        digest, path = next(iter(blobs_of(bundle).items()))
        client.offer(deployment.id, digest, path.stat().st_size, chunks_of(path))

        def broken():
            raise OSError("the disk of the host is gone")
            yield

        with pytest.raises(OSError, match="the disk of the host is gone"):
            client.upload(deployment.id, digest, broken())

    def test_start_refuses_what_was_not_uploaded(self, client, bundle):
        deployment = client.create(bundle[1], owner="a", deployment_id=new_id())
        with pytest.raises(StateError):
            client.start(deployment.id)

    def test_an_install_is_watched_until_it_is_committed(self, client, bundle):
        deployment = client.create(bundle[1], owner="a", deployment_id=new_id())
        send(client, deployment.id, bundle)
        client.start(deployment.id)
        events = list(client.watch(deployment.id))
        states = [event.state for event in events]
        assert states[-1] is State.COMMITTED
        assert states.index(State.PARITY) < states.index(State.ACTIVATING) < states.index(State.PROBATION)
        assert [event.sequence for event in events] == sorted({event.sequence for event in events})
        final = client.get(deployment.id)
        assert client.installed().current == final.release
        assert [component.precision for component in final.components] == ["fp32"]
        assert final.parity.failures == ()

    def test_watching_what_rests_ends(self, client, bundle):
        deployment_id = install(client, bundle)
        assert list(client.watch(deployment_id)) == []

    def test_the_installed_release_is_found_again(self, client, bundle):
        deployment_id = install(client, bundle)
        again = client.create(bundle[1], owner="a", deployment_id=new_id())
        assert (again.id, again.state) == (deployment_id, State.COMMITTED)

    def test_an_unknown_deployment_is_not_found(self, client):
        with pytest.raises(NotFoundError):
            client.get("nothere")
        with pytest.raises(NotFoundError):
            list(client.watch("nothere"))

    def test_a_withdrawn_deployment_frees_the_device(self, client, bundle, other):
        deployment = client.create(bundle[1], owner="a", deployment_id=new_id())
        assert client.cancel(deployment.id).state is State.FAILED
        assert client.create(other[1], owner="b", deployment_id=new_id()).state is not State.FAILED

    def test_rollback_without_a_previous_release_is_refused(self, client, bundle):
        install(client, bundle)
        with pytest.raises(StateError):
            client.rollback(owner="a")

    def test_rollback_puts_the_previous_release_back(self, client, bundle, other):
        install(client, bundle)
        before = client.installed().current
        install(client, other)
        assert client.installed().previous == before
        assert client.rollback(owner="a").release == before
        assert client.installed().current == before

    def test_a_run_goes_through_its_phases_and_ends_with_the_summary(self, client, bundle):
        install(client, bundle)
        events = list(client.run("run1", LoopOverrides(measure_s=0.3)))
        assert [event.phase for event in events][-2:] == [RunPhase.MEASURING, RunPhase.DONE]
        summary = events[-1].summary
        assert summary is not None
        assert summary.run_id == "run1"
        assert summary.loop.measure_s == 0.3
        assert summary.release == client.installed().current
        assert client.get(summary.deployment_id).state is State.COMMITTED

    def test_a_kept_release_runs_beside_the_installed_one_and_no_other_does(self, client, bundle, other):
        install(client, bundle)
        before = client.installed().current
        install(client, other)
        installed = client.installed()
        assert installed.kept == (installed.current, before)
        for release in (before, installed.current, before):
            *_, last = client.run(new_id(), LoopOverrides(measure_s=0.1), release)
            assert last.summary.release == release
        assert client.installed().current == installed.current
        with pytest.raises(StateError):
            list(client.run(new_id(), LoopOverrides(), Digest("0" * 64)))

    def test_nothing_installed_is_nothing_to_run(self, client):
        with pytest.raises(StateError):
            list(client.run("run1", LoopOverrides()))

    def test_samples_of_a_run_can_be_fetched_and_those_of_no_run_cannot(self, client, bundle):
        install(client, bundle)
        list(client.run("run1", LoopOverrides(measure_s=0.3)))
        assert b"".join(client.fetch_samples("run1"))
        with pytest.raises(NotFoundError):
            list(client.fetch_samples("run2"))

    def test_two_connections_see_one_device(self, client, connect, bundle):
        deployment = client.create(bundle[1], owner="a", deployment_id=new_id())
        with connect() as second:
            assert second.get(deployment.id) == replace(deployment, changed_s=second.get(deployment.id).changed_s)
