"""Measuring the installed loop."""

from __future__ import annotations

import pytest

from edgectl_host.workflows.deploy import install
from edgectl_host.workflows.profile import fetch_samples, measure, measure_all
from edgectl_host.workflows.progress import silent
from edgectl_protos.domain.errors import LoopError, NotFoundError, RunsError, SourceError
from edgectl_protos.domain.loop import LoopOverrides, Mode
from edgectl_testkit.fake_device import FakeDevice


@pytest.fixture
def installed(bundle, bench):
    async def make(*fakes: FakeDevice):
        for fake in fakes:
            async with await fake.connect() as client:
                await install(client, bundle, owner="me", progress=silent)
        return bench(*fakes)

    return make


async def as_it_is(client, record):
    return record


async def run_all(devices, overrides=None, keep=as_it_is):
    return await measure_all(
        devices.devices,
        overrides or LoopOverrides(),
        connect=devices.connect,
        manifest_of=lambda digest: None,
        keep=keep,
        progress=silent,
    )


async def test_a_run_has_its_verdict_deployment_and_manifest(installed, bundle, updates):
    fake = FakeDevice("a")
    devices = await installed(fake)
    async with await fake.connect() as client:
        manifests = {bundle.digest: bundle.manifest}
        record = await measure(
            client, devices.devices[0], LoopOverrides(), manifest_of=manifests.get, progress=updates.append
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
            await measure(client, devices.devices[0], LoopOverrides(), manifest_of=lambda _: None, progress=silent)


async def nothing(run_id, overrides, release):
    for event in ():
        yield event


async def test_a_run_without_a_summary_is_an_error(installed, monkeypatch):
    fake = FakeDevice("a")
    devices = await installed(fake)
    async with await fake.connect() as client:
        monkeypatch.setattr(client, "run", nothing)
        with pytest.raises(LoopError, match="without a summary"):
            await measure(client, devices.devices[0], LoopOverrides(), manifest_of=lambda _: None, progress=silent)


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
    assert path.read_bytes() == fake.runs[record.summary.run_id]


async def test_samples_that_cannot_be_fetched_or_written_leave_nothing_behind(installed, tmp_path):
    fake = FakeDevice("a")
    devices = await installed(fake)
    record = (await run_all(devices))[0].value
    (tmp_path / "file").touch()
    async with await fake.connect() as client:
        with pytest.raises(RunsError, match="cannot be written"):
            await fetch_samples(client, record, tmp_path / "file")
        fake.runs.clear()
        with pytest.raises(NotFoundError):
            await fetch_samples(client, record, tmp_path / "samples")
    assert list((tmp_path / "samples").iterdir()) == []
