"""Installing one release on one device."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from edgectl_converters.chunking import cut
from edgectl_host.workflows.deploy import install
from edgectl_host.workflows.patience import Patience
from edgectl_host.workflows.progress import silent
from edgectl_protos.domain.chunks import MAX_CHUNK_BYTES
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import (
    BusyError,
    DiskFullError,
    ParityError,
    UnreachableError,
    WorkerError,
)
from edgectl_testkit.fake_device import IMPATIENT, FakeDevice


async def put(client, bundle, progress=silent, patience=IMPATIENT):
    return await install(client, bundle, owner="me@here", patience=patience, progress=progress)


async def test_a_release_is_sent_proved_and_committed(client, fake, bundle, updates):
    done = await put(client, bundle, updates.append)
    assert done.deployment.state is State.COMMITTED
    assert done.deployment.owner == "me@here"
    assert done.sent_bytes == fake.received_bytes == bundle.manifest.size_bytes
    assert fake.current == bundle.digest
    texts = [update.text for update in updates]
    assert texts.index("proving the numbers on the device") < texts.index("trying the loop") < texts.index("installed")
    fractions = [update.fraction for update in updates if update.fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


async def test_what_a_builder_says_is_shown_while_it_builds(client, bundle, updates, monkeypatch):
    watch = client.watch

    async def told(deployment_id, *, after_sequence):
        async for event in watch(deployment_id, after_sequence=after_sequence):
            said = {State.BUILDING: "building 'full': 30%", State.PARITY: "built 'full' in 9 s"}.get(event.state, "")
            yield replace(event, detail=said)

    monkeypatch.setattr(client, "watch", told)
    await put(client, bundle, updates.append)
    texts = [update.text for update in updates]
    assert "building 'full': 30%" in texts
    assert "built 'full' in 9 s; proving the numbers on the device" in texts


async def test_the_second_time_the_device_says_that_it_is_there_and_nothing_is_sent(client, fake, bundle):
    first = await put(client, bundle)
    fake.calls.clear()
    second = await put(client, bundle)
    assert second.already
    assert second.sent_bytes == 0
    assert second.deployment.id == first.deployment.id
    assert fake.calls == ["create"]


async def test_a_blob_of_many_chunks_arrives_whole(client, fake, make_bundle):
    big = make_bundle("big", extra={"footage.bin": bytes(range(256)) * (3 * MAX_CHUNK_BYTES // 256 + 5)})
    await put(client, big)
    entry = big.manifest.file("footage.bin")
    assert len(fake.blobs[entry.digest]) == entry.size_bytes > 3 * MAX_CHUNK_BYTES


async def test_what_the_device_has_of_another_release_is_not_sent_again(client, fake, make_bundle):
    await put(client, make_bundle("one"))
    before = fake.received_bytes
    done = await put(client, make_bundle("two"))
    # Only the name in the manifest differs: every blob is there.
    assert done.sent_bytes == 0
    assert fake.received_bytes == before


async def test_a_device_that_dies_in_the_middle_continues_where_it_was(client, fake, bundle):
    fake.dies_after_chunks = 2
    with pytest.raises(UnreachableError):
        await put(client, bundle)
    fake.gone, fake.dies_after_chunks = False, None
    received = fake.received_bytes
    done = await put(client, bundle)
    assert done.deployment.state is State.COMMITTED
    assert fake.received_bytes == bundle.manifest.size_bytes
    assert done.sent_bytes == bundle.manifest.size_bytes - received


async def test_a_device_that_comes_back_in_time_is_gone_on_with(client, fake, bundle, updates):
    fake.dies_after_chunks = 2

    def come_back(update):
        updates.append(update)
        if update.text.startswith("does not answer"):
            fake.gone, fake.dies_after_chunks = False, None

    done = await put(client, bundle, come_back, Patience(silence_s=10.0, first_pause_s=0.001))
    assert done.deployment.state is State.COMMITTED
    assert len(fake.deployments) == 1
    assert done.sent_bytes == fake.received_bytes == bundle.manifest.size_bytes
    assert "does not answer; asked again for up to 10 s" in [update.text for update in updates]


async def test_a_watch_that_is_cut_goes_on_after_what_was_seen(client, fake, bundle, updates):
    fake.cuts = 4
    await put(client, bundle, updates.append, Patience(silence_s=10.0, first_pause_s=0.001))
    told = [update.text for update in updates if update.fraction is None and "answer" not in update.text]
    assert len(told) == len(set(told))
    assert told[-1] == "installed"


async def test_cancelled_while_sending_it_withdraws_and_frees_the_device(client, fake, make_bundle):
    task = asyncio.create_task(put(client, make_bundle("one"), lambda update: task.cancel()))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert fake.deployments[0].state is State.FAILED
    assert (await put(client, make_bundle("two", golden_shift=1.0))).deployment.state is State.COMMITTED


async def test_a_device_that_does_not_even_answer_the_withdrawal_is_left(client, fake, bundle, monkeypatch):
    async def silent_device(deployment_id):
        await asyncio.Event().wait()

    monkeypatch.setattr(client, "cancel", silent_device)
    monkeypatch.setattr("edgectl_host.workflows.connections.LAST_WORD_S", 0.01)
    fake.capacity_bytes = 100
    with pytest.raises(DiskFullError):
        await put(client, bundle)


async def test_a_blob_is_read_and_hashed_once_however_many_devices_it_goes_to(bundle, monkeypatch):
    counted = []
    monkeypatch.setattr("edgectl_converters.chunking.cut", lambda path, edges: counted.append(path) or cut(path, edges))
    clients = [await FakeDevice(f"d{number}").connect() for number in range(5)]
    await asyncio.gather(*(put(client, bundle) for client in clients))
    assert len(counted) == len(set(counted)) == len(bundle.blobs)


async def test_a_full_device_is_told_as_it_says_and_withdrawn(client, fake, bundle):
    fake.capacity_bytes = 100
    with pytest.raises(DiskFullError):
        await put(client, bundle)
    assert fake.deployments[0].state is State.FAILED


async def test_the_reason_of_a_failed_deployment_is_the_error(client, fake, make_bundle):
    one = make_bundle("one")
    await put(client, one)
    fake.fails_at = (State.PARITY, ParityError("action differs by 0.3", hint="look"))
    with pytest.raises(ParityError, match=rf"by 0\.3 \(not activated; release {one.digest.short} still runs\)") as info:
        await put(client, make_bundle("two"))
    assert info.value.hint == "look"


async def test_a_rolled_back_deployment_says_so(client, fake, bundle):
    fake.fails_at = (State.PROBATION, WorkerError("the worker died"))
    with pytest.raises(WorkerError, match=r"the worker died \(rolled back\)"):
        await put(client, bundle)


async def test_a_busy_device_is_left_alone(client, fake, make_bundle):
    await client.create(make_bundle("theirs").manifest_bytes, owner="ada@lab", deployment_id="d0")
    with pytest.raises(BusyError, match="ada@lab"):
        await put(client, make_bundle("ours"))
    assert fake.find("d0").state is State.STAGING


async def test_a_deployment_already_on_its_way_is_joined(client, fake, bundle):
    first = await client.create(bundle.manifest_bytes, owner="me", deployment_id="d0")
    done = await put(client, bundle)
    assert done.deployment.id == first.id


async def test_an_installed_release_with_another_in_flight_is_not_called_installed(client, fake, make_bundle):
    one = make_bundle("one")
    await put(client, one)
    await client.create(make_bundle("two").manifest_bytes, owner="ada@lab", deployment_id="d0")
    with pytest.raises(BusyError):
        await put(client, one)


async def test_an_inconsistent_device_is_never_called_installed(client, fake, bundle, monkeypatch):
    async def stuck(deployment_id):
        return replace(fake.find(deployment_id), state=State.INCONSISTENT)

    monkeypatch.setattr(client, "get", stuck)
    with pytest.raises(Exception, match="could neither finish nor go back") as info:
        await put(client, bundle)
    assert info.value.reason == "device_failed"
