"""What every DeviceClient must do. Bind it: `class TestX(DeviceClientContract)` with a fixture `client`.

The fixture `connect` is a coroutine function that gives further connections to the same device. Bundles are real ones
for the `reference` runtime.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from edgectl_converters.bundle import blob_path
from edgectl_converters.chunking import cut
from edgectl_host.transport.base import DeviceClient
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.codec.transfer import frame_header
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


async def frames(upload: bytes, *parts: tuple[int, bytes]):
    """A frame for each chunk."""
    for index, data in parts:
        yield frame_header(upload, index, 1) + data


async def one(frame: bytes):
    yield frame


async def all_of(stream) -> list:
    return [item async for item in stream]


def blobs_of(bundle: Bundle):
    manifest = from_bytes(Manifest, bundle[1], what=MANIFEST_NAME)
    return {entry.digest: blob_path(bundle[0], entry.digest) for entry in manifest.files}


async def send(client: DeviceClient, deployment_id: str, bundle: Bundle) -> None:
    for digest, path in blobs_of(bundle).items():
        chunks = cut(path)
        offered = await client.offer(deployment_id, digest, chunks)
        data, offsets = path.read_bytes(), chunks.offsets()
        for part in offered.missing:
            body = data[offsets[part.start] : offsets[part.stop]]
            head = frame_header(offered.upload, part.start, len(part))
            assert (await all_of(client.upload(one(head + body))))[-1] == len(body)
        await client.commit(deployment_id, digest)


async def install(client: DeviceClient, bundle: Bundle) -> str:
    deployment = await client.create(bundle[1], owner="someone@here", deployment_id=new_id())
    await send(client, deployment.id, bundle)
    await client.start(deployment.id)
    async for _ in client.watch(deployment.id):
        pass
    final = await client.get(deployment.id)
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

    async def test_hello_names_the_device_and_a_protocol_range(self, client):
        reply = await client.hello()
        assert reply.device
        assert 1 in range(reply.protocol_min, reply.protocol_max + 1)

    async def test_facts_name_machine_and_runtimes(self, client):
        facts = await client.facts(refresh=True)
        assert facts.device == (await client.hello()).device
        assert facts.machine_id
        assert facts.runtime("reference") is not None

    async def test_a_fresh_device_has_nothing_installed(self, client):
        installed = await client.installed()
        assert (installed.deployments, installed.current, installed.previous) == ((), None, None)

    async def test_create_plans_the_release_of_the_manifest_for_its_owner(self, client, bundle):
        deployment_id = new_id()
        deployment = await client.create(bundle[1], owner="someone@here", deployment_id=deployment_id)
        assert deployment.id == deployment_id
        assert deployment.owner == "someone@here"
        assert deployment.state in (State.PLANNED, State.STAGING)
        assert (await client.get(deployment_id)).release == deployment.release

    async def test_create_again_with_another_id_finds_the_deployment_in_flight(self, client, bundle):
        first = await client.create(bundle[1], owner="a", deployment_id=new_id())
        second = await client.create(bundle[1], owner="a", deployment_id=new_id())
        assert second.id == first.id

    async def test_another_release_finds_the_device_busy_and_learns_with_whom(self, client, bundle, other):
        await client.create(bundle[1], owner="alice@lab", deployment_id=new_id())
        with pytest.raises(BusyError, match="alice@lab"):
            await client.create(other[1], owner="bob", deployment_id=new_id())

    @pytest.mark.parametrize("manifest", [b"", b"{}", b"\xff\x00", b'{"schema": "other"}'])
    async def test_what_is_no_manifest_is_refused(self, client, manifest):
        with pytest.raises(BundleError):
            await client.create(manifest, owner="a", deployment_id=new_id())

    async def test_an_offer_answers_only_what_is_missing(self, client, bundle):
        deployment = await client.create(bundle[1], owner="a", deployment_id=new_id())
        digest, path = next(iter(blobs_of(bundle).items()))
        chunks = cut(path)
        offered = await client.offer(deployment.id, digest, chunks)
        assert offered.missing == (range(1),)
        durable = await all_of(client.upload(frames(offered.upload, (0, path.read_bytes()))))
        assert durable == [path.stat().st_size]
        offered = await client.offer(deployment.id, digest, chunks)
        assert (offered.complete, offered.missing) == (False, ())
        await client.commit(deployment.id, digest)
        assert (await client.offer(deployment.id, digest, chunks)).complete

    async def test_streams_on_several_connections_fill_one_blob(self, client, tmp_path):
        data = bytes(range(256)) * 4096
        bundle = tiny_bundle(tmp_path / "large", extra={"large.bin": data})
        deployment = await client.create(bundle[1], owner="a", deployment_id=new_id())
        digest = Digest(hashlib.sha256(data).hexdigest())
        chunks = cut(blob_path(bundle[0], digest))
        offsets = chunks.offsets()
        offered = await client.offer(deployment.id, digest, chunks)
        parts = [(i, data[offsets[i] : offsets[i + 1]]) for i in range(len(chunks))]
        lanes = [all_of(client.upload(frames(offered.upload, *parts[lane::3]), lane=lane)) for lane in range(3)]
        assert sum(durable[-1] for durable in await asyncio.gather(*lanes)) == len(data)
        await client.commit(deployment.id, digest)

    async def test_frames_of_an_earlier_offer_are_refused(self, client, bundle):
        deployment = await client.create(bundle[1], owner="a", deployment_id=new_id())
        digest, path = next(iter(blobs_of(bundle).items()))
        earlier = await client.offer(deployment.id, digest, cut(path))
        await client.offer(deployment.id, digest, cut(path))
        with pytest.raises(StateError):
            await all_of(client.upload(frames(earlier.upload, (0, path.read_bytes()))))

    async def test_a_blob_that_the_release_does_not_hold_is_refused(self, client, bundle):
        deployment = await client.create(bundle[1], owner="a", deployment_id=new_id())
        path = next(iter(blobs_of(bundle).values()))
        with pytest.raises(NotFoundError):
            await client.offer(deployment.id, Digest("0" * 64), cut(path))

    async def test_a_chunk_that_differs_from_the_offer_is_refused(self, client, bundle):
        deployment = await client.create(bundle[1], owner="a", deployment_id=new_id())
        digest, path = next(iter(blobs_of(bundle).items()))
        offered = await client.offer(deployment.id, digest, cut(path))
        altered = bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]
        with pytest.raises(BundleCorruptError):
            await all_of(client.upload(frames(offered.upload, (0, altered))))

    async def test_a_blob_that_does_not_match_its_digest_is_dropped(self, client, bundle, tmp_path):
        deployment = await client.create(bundle[1], owner="a", deployment_id=new_id())
        digest, path = next(iter(blobs_of(bundle).items()))
        wrong = tmp_path / "wrong"
        wrong.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
        offered = await client.offer(deployment.id, digest, cut(wrong))
        await all_of(client.upload(frames(offered.upload, (0, wrong.read_bytes()))))
        with pytest.raises(BundleCorruptError):
            await client.commit(deployment.id, digest)
        assert (await client.offer(deployment.id, digest, cut(path))).missing == (range(1),)

    async def test_an_error_of_the_sender_reaches_the_sender_as_it_is(self, client, bundle):
        deployment = await client.create(bundle[1], owner="a", deployment_id=new_id())
        digest, path = next(iter(blobs_of(bundle).items()))
        await client.offer(deployment.id, digest, cut(path))

        async def broken():
            raise OSError("the disk of the host is gone")
            yield

        with pytest.raises(OSError, match="the disk of the host is gone"):
            await all_of(client.upload(broken()))

    async def test_start_refuses_what_was_not_uploaded(self, client, bundle):
        deployment = await client.create(bundle[1], owner="a", deployment_id=new_id())
        with pytest.raises(StateError):
            await client.start(deployment.id)

    async def test_an_install_is_watched_until_it_is_committed(self, client, bundle):
        deployment = await client.create(bundle[1], owner="a", deployment_id=new_id())
        await send(client, deployment.id, bundle)
        await client.start(deployment.id)
        events = await all_of(client.watch(deployment.id))
        states = [event.state for event in events]
        assert states[-1] is State.COMMITTED
        assert states.index(State.PARITY) < states.index(State.ACTIVATING) < states.index(State.PROBATION)
        assert [event.sequence for event in events] == sorted({event.sequence for event in events})
        final = await client.get(deployment.id)
        assert (await client.installed()).current == final.release
        assert [component.precision for component in final.components] == ["fp32"]
        assert final.parity.failures == ()

    async def test_watching_what_rests_ends(self, client, bundle):
        deployment_id = await install(client, bundle)
        assert await all_of(client.watch(deployment_id)) == []

    async def test_the_installed_release_is_found_again(self, client, bundle):
        deployment_id = await install(client, bundle)
        again = await client.create(bundle[1], owner="a", deployment_id=new_id())
        assert (again.id, again.state) == (deployment_id, State.COMMITTED)

    async def test_an_unknown_deployment_is_not_found(self, client):
        with pytest.raises(NotFoundError):
            await client.get("nothere")
        with pytest.raises(NotFoundError):
            await all_of(client.watch("nothere"))

    async def test_a_withdrawn_deployment_frees_the_device(self, client, bundle, other):
        deployment = await client.create(bundle[1], owner="a", deployment_id=new_id())
        assert (await client.cancel(deployment.id)).state is State.FAILED
        assert (await client.create(other[1], owner="b", deployment_id=new_id())).state is not State.FAILED

    async def test_rollback_without_a_previous_release_is_refused(self, client, bundle):
        await install(client, bundle)
        with pytest.raises(StateError):
            await client.rollback(owner="a")

    async def test_rollback_puts_the_previous_release_back(self, client, bundle, other):
        await install(client, bundle)
        before = (await client.installed()).current
        await install(client, other)
        assert (await client.installed()).previous == before
        assert (await client.rollback(owner="a")).release == before
        assert (await client.installed()).current == before

    async def test_a_run_goes_through_its_phases_and_ends_with_the_summary(self, client, bundle):
        await install(client, bundle)
        begun = await client.create_run("run1", LoopOverrides(measure_s=0.3), owner="someone@here")
        assert (begun.run_id, begun.owner, begun.part_of) == ("run1", "someone@here", "")
        events = await all_of(client.watch_run("run1"))
        assert [event.phase for event in events][-2:] == [RunPhase.MEASURING, RunPhase.DONE]
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        summary = events[-1].summary
        assert summary is not None
        assert summary.run_id == "run1"
        assert summary.loop.measure_s == 0.3
        assert summary.release == begun.release == (await client.installed()).current
        assert (await client.get(summary.deployment_id)).state is State.COMMITTED

    async def test_a_run_that_nobody_watches_goes_on_and_is_found_again(self, client, connect, bundle):
        await install(client, bundle)
        async with await connect() as gone:
            await gone.create_run("run1", LoopOverrides(measure_s=0.3), owner="a", part_of="a comparison")
            async for event in gone.watch_run("run1"):
                if event.phase is RunPhase.MEASURING:
                    break
        rest = await all_of(client.watch_run("run1", after_sequence=event.sequence))
        assert rest[-1].phase is RunPhase.DONE
        assert all(later.sequence > event.sequence for later in rest)
        assert await all_of(client.watch_run("run1", after_sequence=rest[-1].sequence)) == []
        (found,) = await client.runs()
        assert (found.run_id, found.phase, found.part_of) == ("run1", RunPhase.DONE, "a comparison")

    async def test_a_run_is_begun_once_however_often_it_is_asked_for(self, client, bundle):
        await install(client, bundle)
        for _ in range(3):
            assert (await client.create_run("run1", LoopOverrides(measure_s=0.1), owner="a")).run_id == "run1"
        first = await all_of(client.watch_run("run1"))
        assert (await client.create_run("run1", LoopOverrides(measure_s=0.1), owner="a")).phase is RunPhase.DONE
        assert (await all_of(client.watch_run("run1")))[-1] == first[-1]

    async def test_a_run_in_progress_holds_the_device_until_it_is_cancelled(self, client, bundle):
        await install(client, bundle)
        await client.create_run("run1", LoopOverrides(measure_s=60.0), owner="ada@lab")
        with pytest.raises(BusyError, match="run1 of ada@lab"):
            await client.create_run("run2", LoopOverrides(), owner="b")
        assert (await client.cancel_run("run1")).phase is RunPhase.FAILED
        last = (await all_of(client.watch_run("run1")))[-1]
        assert last.failure.reason == "cancelled"
        assert (await client.cancel_run("run1")).failure.reason == "cancelled"
        await client.create_run("run2", LoopOverrides(measure_s=0.1), owner="b")
        assert (await all_of(client.watch_run("run2")))[-1].phase is RunPhase.DONE
        assert [run.run_id for run in await client.runs()] == ["run2", "run1"]

    async def test_a_kept_release_runs_beside_the_installed_one_and_no_other_does(self, client, bundle, other):
        await install(client, bundle)
        before = (await client.installed()).current
        await install(client, other)
        installed = await client.installed()
        assert installed.kept == (installed.current, before)
        for release in (before, installed.current, before):
            run = await client.create_run(new_id(), LoopOverrides(measure_s=0.1), release, owner="a")
            *_, last = await all_of(client.watch_run(run.run_id))
            assert last.summary.release == run.release == release
        assert (await client.installed()).current == installed.current
        with pytest.raises(StateError):
            await client.create_run(new_id(), LoopOverrides(), Digest("0" * 64), owner="a")

    async def test_nothing_installed_is_nothing_to_run(self, client):
        with pytest.raises(StateError):
            await client.create_run("run1", LoopOverrides(), owner="a")

    async def test_an_unknown_run_is_not_found(self, client):
        with pytest.raises(NotFoundError):
            await all_of(client.watch_run("run1"))
        with pytest.raises(NotFoundError):
            await client.cancel_run("run1")
        assert await client.runs() == ()

    async def test_samples_of_a_run_can_be_fetched_and_those_of_no_run_cannot(self, client, bundle):
        await install(client, bundle)
        await client.create_run("run1", LoopOverrides(measure_s=0.3), owner="a")
        await all_of(client.watch_run("run1"))
        samples = b"".join(await all_of(client.fetch_samples("run1")))
        assert samples
        assert b"".join(await all_of(client.fetch_samples("run1", offset=10))) == samples[10:]
        with pytest.raises(NotFoundError):
            await all_of(client.fetch_samples("run2"))

    async def test_events_are_acknowledged_for_their_own_deployment_only(self, client, connect, bundle, other):
        first = await client.create(bundle[1], owner="a", deployment_id=new_id())
        await client.cancel(first.id)
        await install(client, other)
        assert (await all_of(client.watch(first.id)))[-1].state is State.FAILED
        assert await all_of(client.watch(first.id)) == []

    async def test_two_connections_see_one_device(self, client, connect, bundle):
        deployment = await client.create(bundle[1], owner="a", deployment_id=new_id())
        async with await connect() as second:
            found = await second.get(deployment.id)
            assert found == replace(deployment, changed_s=found.changed_s)
