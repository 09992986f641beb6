"""The demo: conversions side by side on one device."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from edgectl_converters.assignment import Assignment
from edgectl_host.runs.comparison import Change
from edgectl_host.workflows.demo import DEMO_BLOCKS, DEMO_SCHEMES, DEMO_STATISTIC, find_example, run_demo
from edgectl_host.workflows.plan import Way
from edgectl_host.workflows.progress import silent
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import ParityError, RunsError, SourceError, UnreachableError, UsageError
from edgectl_protos.domain.interference import Disturbance, Interference
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.run import Exceedances, Misses
from edgectl_protos.domain.verdict import Outcome
from edgectl_testkit.fake_device import IMPATIENT, FakeDevice
from edgectl_testkit.runs import counted

WAYS = tuple(Assignment.of(runtime, scheme) for runtime in ("onnxrt", "openvino") for scheme in DEMO_SCHEMES)


@dataclass
class FakeSubject:
    """A bundle for each assignment; some are refused."""

    make_bundle: object
    refused: tuple[Assignment, ...] = ()
    made: list[Assignment] = field(default_factory=list)
    name: str = "press_pad"

    def way(self, device, facts):
        return Way("generic-x86_64", WAYS[0])

    def ways(self, device, facts, schemes):
        assert (device.board, tuple(schemes)) == ("generic-x86_64", DEMO_SCHEMES)
        assert facts is not None
        return WAYS

    async def bundle(self, assignment, progress):
        self.made.append(assignment)
        if assignment in self.refused:
            raise ParityError(f"{assignment} is 0.4 off", hint="more footage")
        return self.make_bundle(str(assignment).replace(" ", "-"))


@pytest.fixture
def demo(make_bundle, bench):
    async def run(fake: FakeDevice, refused=(), progress=silent):
        subject = FakeSubject(make_bundle, refused)
        devices = bench(fake)
        result = await run_demo(
            subject,
            devices.devices[0],
            LoopOverrides(measure_s=0.6),
            connect=devices.connect,
            owner="me",
            remember=lambda digest, manifest: None,
            patience=IMPATIENT,
            progress=progress,
        )
        return result, subject

    return run


def with_late(summary, count):
    """The run with so many of 200 ticks over its deadline."""
    return counted(summary, Exceedances(summary.loop.deadlines.limits[0], 200, count, 1.0))


@pytest.fixture
def release(make_bundle):
    """The digest of a way's release."""
    return lambda way: make_bundle(str(way).replace(" ", "-")).digest


async def test_every_way_is_converted_once_and_takes_its_turns(demo, release):
    order = []
    fake = FakeDevice("local")
    fake.summary = lambda summary: order.append(summary.release) or summary
    result, subject = await demo(fake)
    assert subject.made == list(WAYS)
    assert [row.assignment for row in result.rows] == list(WAYS)
    assert order == [release(way) for way in WAYS] * DEMO_BLOCKS
    assert [row.pooled.verdict.outcome for row in result.rows] == [Outcome.PASS] * 4


async def test_blocks_are_one_measurement(demo):
    fake = FakeDevice("local")
    fake.summary = lambda summary: replace(summary, misses=Misses(3, 0.015, 2, 1))
    result, _ = await demo(fake)
    pooled = result.rows[0].pooled
    assert pooled.response.n == 200 * DEMO_BLOCKS
    assert pooled.response.p50 == pytest.approx(0.010, rel=0.001)
    assert pooled.response.p999 is None
    assert pooled.misses == Misses(15, 0.015, 2, 5)


async def test_a_verdict_is_of_all_blocks_together(demo):
    fake = FakeDevice("local")
    # At most 5 % may be late: of 1,000 ticks, 5 are few enough to say, 50 show nothing, 100 are too many.
    for late, outcome in ((1, Outcome.PASS), (10, Outcome.INCONCLUSIVE), (20, Outcome.FAIL)):
        fake.summary = lambda summary, late=late: with_late(summary, late)
        result, _ = await demo(fake)
        (check,) = result.rows[0].pooled.verdict.checks
        assert (check.limit.statistic, check.n, check.count) == (DEMO_STATISTIC, 1000, 5 * late)
        assert check.outcome is outcome


async def test_a_busy_machine_makes_it_inconclusive_and_names_no_fastest(demo, release):
    fake = FakeDevice("local")
    fake.pace = {release(WAYS[1]): 0.5}
    share = iter([0.0, 0.2] * 100)
    fake.summary = lambda summary: replace(
        summary, interference=Interference(waited_share=next(share), others_cpus=1.0)
    )
    result, _ = await demo(fake)
    assert result.fastest is None
    assert result.rows[1].pooled.verdict.disturbances == (Disturbance.BUSY,)
    assert result.rows[0].pooled.verdict.disturbances == ()
    assert result.conditions == (f"{WAYS[1]}: machine busy", f"{WAYS[3]}: machine busy")


async def test_the_fastest_is_named_when_its_lead_is_shown(demo, release):
    fake = FakeDevice("local")
    fake.pace = {release(WAYS[1]): 0.5, release(WAYS[2]): 0.7, release(WAYS[3]): 1.2}
    result, _ = await demo(fake)
    assert result.fastest.assignment == WAYS[1]
    assert result.lead.ratio == pytest.approx(1.4, rel=0.01)
    assert [row.ratio and round(row.ratio.ratio, 2) for row in result.rows] == [None, 0.5, 0.7, 1.2]


async def test_none_is_the_fastest_when_two_are_as_fast_or_the_machine_changed(demo, release):
    fake = FakeDevice("local")
    fake.pace = {release(WAYS[1]): 0.5, release(WAYS[2]): 0.5}
    result, _ = await demo(fake)
    assert (result.fastest, result.lead.change) == (None, Change.SAME)
    fake.pace[release(WAYS[2])] = 0.7
    count = iter(range(100))
    fake.summary = lambda summary: replace(summary, threads=1 + (next(count) > 9))
    result, _ = await demo(fake)
    assert result.fastest is None
    assert result.conditions == ("threads: 1, then 2",)


async def test_one_that_breaks_a_deadline_is_not_ranked(demo, release):
    fake = FakeDevice("local")
    fast = release(WAYS[1])
    fake.pace = {fast: 0.1}
    fake.summary = lambda s: with_late(s, 99) if s.release == fast else s
    result, _ = await demo(fake)
    assert result.rows[1].pooled.verdict.outcome is Outcome.FAIL
    assert WAYS[1] not in [row.assignment for row in result.ranked]


async def test_a_way_that_is_refused_costs_its_own_row(demo):
    refused = WAYS[3]
    result, _ = await demo(FakeDevice("local"), refused=(refused,))
    rows = {row.assignment: row for row in result.rows}
    assert rows[refused].failure.reason == "parity_failed"
    assert sum(row.pooled is not None for row in rows.values()) == 3


async def test_a_way_that_the_device_refuses_or_cannot_run_costs_its_own_row(demo, release, monkeypatch):
    fake = FakeDevice("local", fails_at=(State.PARITY, ParityError("0.4 off")))
    result, _ = await demo(fake)
    assert {row.failure.reason for row in result.rows} == {"parity_failed"}
    fake = FakeDevice("local")

    def ends_early(summary):
        if summary.release == release(WAYS[2]):
            raise SourceError("the video ended")
        return summary

    fake.summary = ends_early
    result, _ = await demo(fake)
    assert [row.failure.reason if row.failure else None for row in result.rows] == [None, None, "source_failed", None]


async def test_the_second_time_nothing_is_installed(demo):
    fake = FakeDevice("local")
    await demo(fake)
    created = fake.calls.count("create")
    await demo(fake)
    assert fake.calls.count("create") == created


async def test_updates_are_told_by_what_runs(demo):
    updates = []
    await demo(FakeDevice("local"), progress=updates.append)
    assert {str(way) for way in WAYS} <= {update.subject for update in updates}
    assert f"{WAYS[0]}, block 1 of {DEMO_BLOCKS}: measuring" in [update.text for update in updates]


async def test_a_device_that_does_not_answer_ends_the_demo(demo):
    with pytest.raises(UnreachableError):
        await demo(FakeDevice("local", gone=True))


async def test_when_none_is_left_none_is_ranked(demo):
    result, _ = await demo(FakeDevice("local"), refused=WAYS)
    assert (result.ranked, result.fastest, result.lead) == ((), None, None)


async def test_a_database_that_cannot_be_written_ends_the_demo_before_anything_is_installed(bench, make_bundle):
    fake = FakeDevice("local")
    devices = bench(fake)

    def refuse(digest, manifest):
        raise RunsError("the database is of another version")

    with pytest.raises(RunsError):
        await run_demo(
            FakeSubject(make_bundle),
            devices.devices[0],
            LoopOverrides(),
            connect=devices.connect,
            owner="me",
            remember=refuse,
            patience=IMPATIENT,
            progress=silent,
        )
    assert "create" not in fake.calls


async def test_the_example_is_found_below_the_first_folder_that_has_it(tmp_path):
    policy = tmp_path / "b" / "examples" / "press_pad" / "policy"
    policy.mkdir(parents=True)
    (policy / "config.json").touch()
    assert find_example((tmp_path / "a", tmp_path / "b")) == policy.parent
    with pytest.raises(UsageError, match="is not here") as info:
        find_example((tmp_path / "a",))
    assert "--policy DIR" in info.value.hint
