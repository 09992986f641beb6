"""Runs that finished while nobody waited for them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_host.workflows.collect import collect_all
from edgectl_host.workflows.deploy import install
from edgectl_host.workflows.progress import silent
from edgectl_protos.domain.errors import SourceError
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_testkit.fake_device import IMPATIENT, FakeDevice


@pytest.fixture
async def devices(bundle, bench):
    fakes = (FakeDevice("a"), FakeDevice("b"))
    for fake in fakes:
        async with await fake.connect() as client:
            await install(client, bundle, owner="me", patience=IMPATIENT, progress=silent)
    return bench(*fakes)


async def begin(fake, run_id, **options):
    async with await fake.connect() as client:
        await client.create_run(run_id, LoopOverrides(), owner="me", **options)
        async for _ in client.watch_run(run_id):
            pass


async def collect(devices, known=()):
    async def keep(client, record):
        return record

    return await collect_all(
        devices.devices,
        connect=devices.connect,
        knows=lambda run_id: run_id in known,
        manifest_of=lambda digest: None,
        keep=keep,
        progress=silent,
    )


async def test_what_the_devices_hold_and_this_host_lacks_is_fetched_with_its_verdict(devices):
    await begin(devices.fakes["a"], "r-1")
    await begin(devices.fakes["a"], "r-2")
    await begin(devices.fakes["b"], "r-3")
    a, b = await collect(devices, known=("r-1",))
    assert [record.summary.run_id for record in a.value.records] == ["r-2"]
    (record,) = b.value.records
    assert (record.device, record.summary.run_id, record.outcome) == ("b", "r-3", "pass")
    assert record.deployment.release == record.summary.release


async def test_runs_that_go_on_or_failed_are_told_and_parts_of_comparisons_are_not(devices):
    fake = devices.fakes["a"]
    await begin(fake, "part", part_of="a comparison")
    fake.fails_run = SourceError("the video ended")
    await begin(fake, "r-1")
    async with await fake.connect() as client:
        await client.create_run("r-2", LoopOverrides(measure_s=60.0), owner="me")
    fake.fails_run = None
    a, _ = await collect(devices)
    assert a.value.records == ()
    assert [(run.run_id, run.phase.value) for run in a.value.others][1] == ("r-1", "failed")
    assert a.value.others[0].run_id == "r-2"


async def test_a_run_that_cannot_be_read_is_told_and_the_others_are_fetched(devices):
    fake = devices.fakes["a"]
    await begin(fake, "r-1")
    fake.summary = lambda summary: replace(summary, run_id="another")
    await begin(fake, "r-2")
    a, _ = await collect(devices)
    assert [record.summary.run_id for record in a.value.records] == ["r-1"]
    ((run_id, reason),) = [(run.run_id, run.failure.reason) for run in a.value.others]
    assert (run_id, reason) == ("r-2", "protocol_mismatch")


async def test_a_device_that_does_not_answer_costs_its_own_answer(devices):
    await begin(devices.fakes["a"], "r-1")
    devices.fakes["b"].gone = True
    a, b = await collect(devices)
    assert len(a.value.records) == 1
    assert b.failure.reason == "agent_unreachable"
