"""Measuring the installed loop."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from edgectl_host.workflows.deploy import install
from edgectl_host.workflows.patience import Patience
from edgectl_host.workflows.profile import fetch_samples, measure, measure_all
from edgectl_host.workflows.progress import silent
from edgectl_protos.domain.errors import (
    LoopError,
    NotFoundError,
    ProtocolError,
    RunsError,
    SourceError,
    UnreachableError,
)
from edgectl_protos.domain.loop import LoopOverrides, Mode
from edgectl_testkit.fake_device import IMPATIENT, FakeDevice


@pytest.fixture
def installed(bundle, bench):
    async def make(*fakes: FakeDevice):
        for fake in fakes:
            async with await fake.connect() as client:
                await install(client, bundle, owner="me", patience=IMPATIENT, progress=silent)
        return bench(*fakes)

    return make


async def as_it_is(client, record):
    return record


async def run_all(devices, overrides=None, keep=as_it_is):
    return await measure_all(
        devices.devices,
        overrides or LoopOverrides(),
        connect=devices.connect,
        owner="me",
        manifest_of=lambda digest: None,
        patience=IMPATIENT,
        keep=keep,
        progress=silent,
    )


async def measured(client, device, *, patience=IMPATIENT, progress=silent):
    options = {"owner": "me", "manifest_of": lambda _: None, "patience": patience, "progress": progress}
    return await measure(client, device, LoopOverrides(), **options)


async def test_a_run_has_its_verdict_deployment_and_manifest(installed, bundle, updates):
    fake = FakeDevice("a")
    devices = await installed(fake)
    async with await fake.connect() as client:
        manifests = {bundle.digest: bundle.manifest}
        record = await measure(
            client,
            devices.devices[0],
            LoopOverrides(),
            owner="me",
            manifest_of=manifests.get,
            patience=IMPATIENT,
            progress=updates.append,
        )
    assert record.outcome == "pass"
    assert record.deployment.parity.failures == ()
    assert record.manifest == bundle.manifest
    assert [update.text for update in updates] == ["loading the policy", "warming up", "measuring", "measured"]


async def test_the_failure_of_a_run_is_the_error(installed):
    fake = FakeDevice("a", fails_run=SourceError("the video ended"))
    devices = await installed(fake)
    async with await fake.connect() as client:
        with pytest.raises(SourceError, match="the video ended"):
            await measured(client, devices.devices[0])


async def nothing(run_id, *, after_sequence):
    for event in ():
        yield event


async def test_a_run_without_a_summary_is_an_error(installed, monkeypatch):
    fake = FakeDevice("a")
    devices = await installed(fake)
    async with await fake.connect() as client:
        monkeypatch.setattr(client, "watch_run", nothing)
        with pytest.raises(LoopError, match="without a summary"):
            await measured(client, devices.devices[0])


async def test_an_agent_that_answers_for_another_run_is_not_believed(installed):
    fake = FakeDevice("a", summary=lambda summary: replace(summary, run_id="../../../somewhere"))
    devices = await installed(fake)
    async with await fake.connect() as client:
        with pytest.raises(ProtocolError, match="answered for run '../../../somewhere'"):
            await measured(client, devices.devices[0])


async def test_a_run_whose_stream_is_cut_is_found_again(installed, updates):
    fake = FakeDevice("a")
    devices = await installed(fake)
    fake.cuts = 3
    async with await fake.connect() as client:
        patient = Patience(silence_s=10.0, first_pause_s=0.001)
        record = await measured(client, devices.devices[0], patience=patient, progress=updates.append)
    assert record.outcome == "pass"
    assert list(fake.runs) == [record.summary.run_id]
    texts = [update.text for update in updates if "answer" not in update.text]
    assert texts == ["loading the policy", "warming up", "measuring", "measured"]


async def test_a_device_that_stays_silent_is_left_with_its_run_and_the_way_to_it_is_told(installed):
    fake = FakeDevice("a")
    devices = await installed(fake)
    fake.on_run = lambda: setattr(fake, "gone", True)
    fake.cuts = 1
    async with await fake.connect() as client:
        with pytest.raises(UnreachableError, match="run [0-9a-f]{12} goes on there") as info:
            await measured(client, devices.devices[0])
    assert info.value.hint == "when it answers again, fetch the run: edgectl runs --fleet a"


async def test_who_is_cancelled_ends_the_run_on_the_device(installed):
    fake = FakeDevice("a")
    devices = await installed(fake)
    begun = asyncio.Event()

    async def forever():
        begun.set()
        await asyncio.Event().wait()

    fake.on_run = forever
    async with await fake.connect() as client:
        task = asyncio.create_task(measured(client, devices.devices[0]))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    ((_, going),) = fake.runs.items()
    assert going.run.failure.reason == "cancelled"


async def test_a_fleet_is_measured_with_a_failure_as_an_answer(installed):
    devices = await installed(FakeDevice("a"), FakeDevice("b", machine_id="m-2"))
    devices.fakes["b"].gone = True
    kept = []

    async def keep(client, record):
        kept.append(record)
        return record

    answers = await run_all(devices, LoopOverrides(mode=Mode.CLOSED), keep=keep)
    assert answers[0].value.outcome == "capacity"
    assert answers[1].failure.reason == "agent_unreachable"
    assert [record.device for record in kept] == ["a"]


async def test_devices_of_one_machine_take_turns(installed):
    order = []
    fakes = [FakeDevice(name, on_run=lambda name=name: order.append(name)) for name in ("a", "b", "c")]
    await run_all(await installed(*fakes))
    assert order == ["a", "b", "c"]


async def test_samples_are_fetched_beside_the_run(installed, tmp_path):
    fake = FakeDevice("a")
    devices = await installed(fake)
    folder = tmp_path / "samples"
    answers = await run_all(devices, keep=lambda client, record: fetch_samples(client, record, folder))
    record = answers[0].value
    path = folder / f"{record.summary.run_id}.npz"
    assert record.samples_path == str(path)
    assert path.read_bytes() == fake.samples[record.summary.run_id]


async def test_samples_that_cannot_be_fetched_or_written_leave_nothing_behind(installed, tmp_path, monkeypatch):
    fake = FakeDevice("a")
    devices = await installed(fake)
    record = (await run_all(devices))[0].value
    (tmp_path / "file").touch()
    async with await fake.connect() as client:
        with pytest.raises(RunsError, match="cannot be written"):
            await fetch_samples(client, record, tmp_path / "file")
        fake.samples.clear()
        with pytest.raises(NotFoundError):
            await fetch_samples(client, record, tmp_path / "samples")
        fake.samples[record.summary.run_id] = b"x" * 1001
        monkeypatch.setattr("edgectl_host.workflows.profile.MAX_BYTES", 1000)
        with pytest.raises(ProtocolError, match="more than 1,000 bytes"):
            await fetch_samples(client, record, tmp_path / "samples")
        monkeypatch.setattr(client, "fetch_samples", interrupted)
        with pytest.raises(asyncio.CancelledError):
            await fetch_samples(client, record, tmp_path / "samples")
    assert list((tmp_path / "samples").iterdir()) == []


async def interrupted(run_id):
    yield b"some of it"
    raise asyncio.CancelledError
