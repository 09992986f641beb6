"""Two releases in turns on one device."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from edgectl_converters.assignment import Assignment
from edgectl_host.runs.comparison import Change
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.compare import Side, run_compare
from edgectl_host.workflows.plan import Way
from edgectl_host.workflows.progress import silent
from edgectl_protos.domain.errors import ProtocolError, SourceError, StateError, UsageError
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.verdict import Outcome
from edgectl_testkit.fake_device import IMPATIENT, FakeDevice


@dataclass(frozen=True)
class Ready:
    """A subject that is one bundle."""

    made: Bundle

    @property
    def name(self):
        return self.made.manifest.name

    def way(self, device, facts):
        return Way("generic-x86_64", Assignment.of("reference", "fp32"))

    async def bundle(self, assignment, progress):
        return self.made


@pytest.fixture
def fake():
    return FakeDevice("local")


@pytest.fixture
def sides(make_bundle):
    return [Side(name, Ready(make_bundle(name))) for name in ("one", "two")]


@pytest.fixture
def compared(bench, fake):
    async def run(sides, *, progress=silent, blocks=5):
        devices = bench(fake)
        return await run_compare(
            sides,
            devices.devices[0],
            LoopOverrides(measure_s=4.0),
            blocks=blocks,
            threshold=0.02,
            connect=devices.connect,
            owner="me",
            remember=lambda digest, manifest: None,
            manifest_of=lambda digest: None,
            patience=IMPATIENT,
            progress=progress,
        )

    return run


async def test_blocks_of_both_take_turns_and_nothing_is_installed_between_them(compared, sides, fake):
    order = []
    fake.summary = lambda summary: order.append(summary.release) or summary
    comparison = await compared(sides)
    one, two = (side.subject.made.digest for side in sides)
    assert order == [one, two] * 5
    assert fake.calls.index("create_run") > max(i for i, call in enumerate(fake.calls) if call == "start")
    assert comparison.outcome is Outcome.PASS
    assert {ratio.change for ratio in comparison.ratios} == {Change.SAME}
    assert (comparison.exit_code, comparison.installed) == (0, "two reference fp32")


async def test_the_slower_one_fails_by_its_own_samples(compared, sides, fake):
    fake.pace[sides[1].subject.made.digest] = 1.1
    comparison = await compared(sides)
    assert (comparison.outcome, comparison.exit_code) == (Outcome.FAIL, 1)
    assert comparison.ratios[0].ratio == pytest.approx(1.1, rel=0.001)
    assert (await compared(list(reversed(sides)))).outcome is Outcome.PASS


async def test_what_the_device_keeps_is_not_installed_again(compared, sides, fake):
    await compared(sides)
    created = fake.calls.count("create")
    assert (await compared(sides)).installed == ""
    assert (await compared([Side("previous"), Side("installed")])).installed == ""
    assert fake.calls.count("create") == created


async def test_what_is_on_the_device_is_compared_by_its_place(compared, sides, fake):
    await compared(sides)
    fake.pace[fake.previous] = 2.0
    comparison = await compared([Side("previous"), Side("installed")])
    assert comparison.ratios[0].ratio == pytest.approx(0.5, rel=0.001)


async def test_a_place_without_a_release_is_told(compared, sides):
    with pytest.raises(StateError, match="has no previous release"):
        await compared([Side("previous"), sides[0]])


async def test_one_release_is_not_compared_with_itself(compared, sides):
    with pytest.raises(UsageError, match="are one release"):
        await compared([sides[0], sides[0]])


async def test_loops_of_unlike_rates_are_refused_after_one_block_of_each(compared, sides, fake):
    two = sides[1].subject.made.digest
    fake.summary = lambda s: replace(s, loop=replace(s.loop, rate_hz=50.0)) if s.release == two else s
    with pytest.raises(UsageError, match="differ in rate"):
        await compared(sides)
    assert fake.calls.count("create_run") == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s, n: replace(s, facts=replace(s.facts, governor="powersave" if n > 6 else "performance")), "governor"),
        (lambda s, n: replace(s, threads=1 + (n > 3)), "threads: 1, then 2"),
        (lambda s, n: replace(s, temperature_start_c=40.0 + 2 * n), "temperature: 42 to 60 °C"),
    ],
)
async def test_conditions_that_change_make_it_inconclusive_and_are_named(compared, sides, fake, change, said):
    count = iter(range(100))
    next(count)
    fake.summary = lambda summary: change(summary, next(count))
    comparison = await compared(sides)
    assert comparison.outcome is Outcome.INCONCLUSIVE
    assert said in comparison.conditions[0]


async def test_an_agent_that_runs_something_else_is_found_out(compared, sides, fake):
    await compared(sides)
    fake.summary = lambda summary: replace(summary, release=fake.current)
    with pytest.raises(ProtocolError, match="instead of"):
        await compared(sides)


async def test_a_run_that_fails_ends_the_comparison(compared, sides, fake):
    fake.fails_run = SourceError("the video ended")
    with pytest.raises(SourceError):
        await compared(sides)
    assert fake.open_clients == 0


async def test_progress_says_whose_block_it_is_and_when_to_be_quiet(compared, sides):
    updates = []
    await compared(sides, progress=updates.append)
    texts = [update.text for update in updates if update.quiet]
    assert texts[:2] == [
        "one reference fp32, block 1 of 5: measuring",
        "two reference fp32, block 1 of 5: measuring",
    ]
    assert len(texts) == 10
