"""A fleet: one conversion for each assignment, a row a device, and no device stops another."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from edgectl_converters.assignment import Assignment
from edgectl_host.workflows.plan import Way, make_plan
from edgectl_host.workflows.progress import silent
from edgectl_host.workflows.rollout import Rollout, exit_code_of
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import GateError, LoopError, ParityError, RunsError
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_testkit.fake_device import IMPATIENT, FakeDevice
from edgectl_testkit.runs import with_misses

FP32 = Assignment.of("reference", "fp32")
INT8 = Assignment.of("onnxrt", "int8")


class Kept:
    """What a rollout converted, remembered and recorded."""

    def __init__(self, bundle) -> None:
        self.bundle = bundle
        self.converted: list[Assignment] = []
        self.remembered = []
        self.records = []

    async def convert(self, assignment, progress):
        self.converted.append(assignment)
        return self.bundle

    def remember(self, digest, manifest):
        self.remembered.append(digest)


@pytest.fixture
def kept(bundle):
    return Kept(bundle)


async def roll_out(bench, kept, *, measuring: LoopOverrides | None = LoopOverrides(), **options):  # noqa: B008 - frozen
    def choose(device, facts):
        return Way(device.board, INT8 if device.name.startswith("quick") else FP32)

    plan = await make_plan("tiny", bench.devices, connect=bench.connect, choosing=choose)
    arguments = {
        "connect": bench.connect,
        "convert": kept.convert,
        "owner": "me@here",
        "measuring": measuring,
        "remember": kept.remember,
        "record": kept.records.append,
        "patience": IMPATIENT,
        "progress": silent,
    }
    return await Rollout(**(arguments | options)).run(plan)


async def test_six_devices_of_two_assignments_take_two_conversions_and_give_six_verdicts(bench, kept):
    fakes = [FakeDevice(name, machine_id=name) for name in ("a", "b", "quick-1", "c", "quick-2", "d")]
    rows = await roll_out(bench(*fakes), kept)
    assert kept.converted == [FP32, INT8]
    assert kept.remembered == [kept.bundle.digest] * 2
    assert [row.plan.device.name for row in rows] == ["a", "b", "quick-1", "c", "quick-2", "d"]
    assert [row.record.outcome for row in rows] == ["pass"] * 6
    assert sorted(record.device for record in kept.records) == sorted(fake.name for fake in fakes)
    assert all(fake.current == kept.bundle.digest and fake.open_clients == 0 for fake in fakes)
    assert exit_code_of(rows) == 0


async def test_devices_that_fail_leave_the_others_alone_and_the_fleet_is_partial(bench, kept):
    gone = FakeDevice("gone", gone=True)
    full = FakeDevice("full", capacity_bytes=10)
    dies = FakeDevice("dies", dies_after_chunks=1)
    wrong = FakeDevice("wrong", fails_at=(State.PARITY, ParityError("differs")))
    crash = FakeDevice("crash", fails_run=LoopError("the loop ended"))
    good = FakeDevice("good")
    rows = await roll_out(bench(gone, full, dies, wrong, crash, good), kept)
    assert [row.failure.reason if row.failure else "" for row in rows] == [
        "agent_unreachable", "disk_full", "agent_unreachable", "parity_failed", "loop_failed", "",
    ]  # fmt: skip
    assert rows[5].record.outcome == "pass"
    assert rows[4].install.deployment.state is State.COMMITTED
    assert exit_code_of(rows) == 4


async def test_a_second_run_finishes_what_was_left(bench, kept):
    dies, good = FakeDevice("dies", dies_after_chunks=1), FakeDevice("good")
    devices = bench(dies, good)
    assert exit_code_of(await roll_out(devices, kept)) == 4
    dies.gone, dies.dies_after_chunks = False, None
    rows = await roll_out(devices, kept)
    assert exit_code_of(rows) == 0
    assert [row.install.already for row in rows] == [False, True]


async def test_a_conversion_that_fails_costs_only_its_own_devices(bench, kept):
    async def convert(assignment, progress):
        if assignment == INT8:
            raise GateError("int8 is 0.4 off")
        return kept.bundle

    rows = await roll_out(bench(FakeDevice("a"), FakeDevice("quick")), kept, convert=convert)
    assert rows[0].record is not None
    assert (rows[1].failure.reason, rows[1].install) == ("gate_failed", None)


async def test_agents_of_one_machine_are_measured_in_turns_and_after_every_install_there(bench, kept):
    running = asyncio.Lock()
    order: list[str] = []
    fakes = [FakeDevice(name, machine_id="shared") for name in ("a", "b", "c")]
    for fake in fakes:

        async def on_run(fake=fake):
            assert not running.locked(), "two runs at once on one machine"
            async with running:
                await asyncio.sleep(0)
                assert all(other.current is not None for other in fakes), "measured beside an install"
                order.append(fake.name)

        fake.on_run = on_run
    rows = await roll_out(bench(*fakes), kept)
    assert [row.record.outcome for row in rows] == ["pass"] * 3
    assert order == ["a", "b", "c"]


async def test_an_install_that_fails_does_not_keep_its_machine_waiting(bench, kept):
    rows = await roll_out(bench(FakeDevice("a"), FakeDevice("full", capacity_bytes=10)), kept)
    assert rows[0].record is not None


async def test_different_machines_are_measured_at_the_same_time(bench, kept):
    meeting = asyncio.Barrier(2)
    fakes = [FakeDevice(name, machine_id=name, on_run=meeting.wait) for name in ("a", "b")]
    rows = await roll_out(bench(*fakes), kept)
    assert [row.failure for row in rows] == [None, None]


async def test_without_measuring_devices_are_installed_only(bench, kept):
    fake = FakeDevice("a")
    rows = await roll_out(bench(fake), kept, measuring=None)
    assert rows[0].install is not None
    assert rows[0].record is None
    assert "create_run" not in fake.calls


async def test_the_overrides_reach_the_run(bench, kept):
    rows = await roll_out(bench(FakeDevice("a")), kept, measuring=LoopOverrides(rate_hz=50.0, measure_s=3.0))
    loop = rows[0].record.summary.loop
    assert (loop.rate_hz, loop.measure_s, loop.deadlines.tick_s) == (50.0, 3.0, 0.02)


async def test_figures_that_cannot_be_kept_are_shown_all_the_same(bench, kept):
    def record(_):
        raise RunsError("the database is locked")

    rows = await roll_out(bench(FakeDevice("a")), kept, record=record)
    assert rows[0].record.outcome == "pass"
    assert rows[0].failure.reason == "runs_database"
    assert exit_code_of(rows) == RunsError.exit_code


async def test_the_worst_verdict_is_the_exit_code(bench, kept):
    def missed(summary):
        return with_misses(summary, 126)

    def short(summary):
        return with_misses(summary, 0, ticks=3)

    good, fails, brief = FakeDevice("a"), FakeDevice("b", summary=missed), FakeDevice("c", summary=short)
    assert exit_code_of(await roll_out(bench(good, brief), kept)) == 3
    assert exit_code_of(await roll_out(bench(good, brief, fails), kept)) == 1


async def test_when_every_device_fails_alike_the_code_is_that_of_the_reason(bench, kept):
    rows = await roll_out(bench(FakeDevice("a", gone=True), FakeDevice("b", gone=True)), kept)
    assert exit_code_of(rows) == 51
    assert kept.converted == []


async def test_a_stand_in_is_told_in_the_run_even_when_the_device_does_not_know(bench, kept):
    devices = bench(FakeDevice("pi"))
    devices.devices = (replace(devices.devices[0], board="raspberry-pi-5", stand_in=True),)
    rows = await roll_out(devices, kept)
    assert rows[0].record.summary.facts.stand_in_for == "raspberry-pi-5"
