"""Every figure of a run, against stamps taken outside edgectl: of the runtime, the sink and the clock (`truth.py`).

Compared is what happened, never what was asked for: on a busy machine sleeps are long, and long in both.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from edgectl_protos.domain.loop import Deadlines, Execution, Limit, LoopSpec, Metric, Overrun
from edgectl_testkit.truth import (
    NEAR_S,
    agrees,
    differences,
    longest_run,
    measured,
    nearest_rank,
    numbered,
    scripted_release,
)

RANDOM = np.random.default_rng(6)


@dataclass(frozen=True)
class Case:
    """A loop, and how long its inferences sleep."""

    sleeps_s: list[float]
    rate_hz: float = 200.0
    slots: int = 500
    use: int = 1
    overrun: Overrun = Overrun.SKIP
    source: dict = field(default_factory=dict)
    deadline_s: float | None = None

    @property
    def loop(self) -> LoopSpec:
        period_s = 1 / self.rate_hz
        return LoopSpec(
            "truth",
            self.rate_hz,
            (numbered(**self.source),),
            Execution(self.use),
            Deadlines.of_tick(self.deadline_s or period_s, Limit(Metric.STARVATION, "rate", 0.1)),
            measure_s=self.slots * period_s,
            overrun=self.overrun,
        )


def stalls(slots: int, *, base_s: float, at: dict[int, float]) -> list[float]:
    """Sleeps of one length, but at these inferences."""
    return [at.get(index, base_s) for index in range(slots)]


UNIFORM = RANDOM.uniform(0.0005, 0.003, 500).tolist()
HEAVY = RANDOM.lognormal(np.log(0.0035), 0.5, 500).tolist()
CASES = {
    "uniform": Case(UNIFORM),
    "lognormal with overruns": Case(HEAVY, deadline_s=0.0045),
    "stalls, skipped": Case(stalls(500, base_s=0.001, at={40: 0.06, 41: 0.03, 200: 0.11})),
    "stalls, caught up": Case(stalls(500, base_s=0.001, at={40: 0.06, 200: 0.11}), overrun=Overrun.BURST),
    "a stall at the end": Case(stalls(500, base_s=0.001, at={480: 0.5})),
    "a deadline longer than the period": Case(HEAVY, deadline_s=0.012),
    "four actions of a chunk": Case(UNIFORM, use=4),
    "a chunk that overruns": Case([0.011], use=4),
    "a source slower than the loop": Case(UNIFORM, source={"fps": 30.0, "delay_s": 0.04, "phase_s": 0.01}),
    "a source faster than the loop": Case(UNIFORM, source={"fps": 700.0}),
    "a fast source read once a chunk": Case(UNIFORM, use=4, source={"fps": 300.0, "delay_s": 0.005}),
}


@pytest.fixture(scope="module", params=CASES, ids=lambda name: name)
def run(request, tmp_path_factory):
    """The run, and what was seen of it."""
    case, folder = CASES[request.param], tmp_path_factory.mktemp("truth")
    release = scripted_release(folder, case.loop, case.sleeps_s, chunk=2 * case.use)
    return measured(folder, release)


def test_response_and_service_and_wake_and_jitter(run):
    summary, truth = run
    period_s, doubtful = truth.loop.period_s, int(truth.disturbed.sum())
    assert [
        *differences("response", summary.response, truth.responses, doubtful=int(truth.doubtful.sum())),
        *differences("service", summary.service, truth.published - truth.woke, doubtful=doubtful),
        *differences("wake", summary.wake, truth.woke - truth.due, doubtful=doubtful),
        *differences("jitter", summary.jitter, np.abs(np.diff(truth.published) - period_s), doubtful=2 * doubtful),
    ] == []


def test_the_age_of_every_action(run):
    summary, truth = run
    doubtful = int(truth.disturbed.sum())
    assert differences("age", summary.age, truth.published - truth.stamps, doubtful=doubtful) == []


def test_misses_and_their_longest_run_and_the_lost_slots(run):
    summary, truth = run
    few, many = truth.late(truth.loop.deadlines.tick_s)
    assert few.sum() <= summary.misses.count <= many.sum()
    assert longest_run(few) <= summary.misses.longest_run <= longest_run(many)
    assert summary.misses.rate == pytest.approx(summary.misses.count / truth.slots)
    assert summary.misses.skipped == len(truth.lost)


def test_starved_slots(run):
    summary, truth = run
    few, many = truth.starved()
    assert few.sum() <= summary.starved_slots <= many.sum()


def test_what_the_verdict_counts(run):
    summary, truth = run
    tick, starvation = summary.exceedances
    assert (tick.n, tick.count) == (truth.slots, summary.misses.count)
    assert (starvation.n, starvation.count) == (truth.slots, summary.starved_slots)


def test_the_four_rates(run):
    summary, truth = run
    rates, ticks = summary.rates, len(truth.slot)
    assert (summary.ticks, summary.inferences) == (ticks, len(truth.infer_s))
    assert agrees(summary.measured_s, truth.wall_s)
    assert rates.command_hz == pytest.approx(ticks / truth.wall_s, rel=0.01)
    assert rates.fresh_action_hz == pytest.approx(ticks / truth.wall_s, rel=0.01)
    assert rates.replan_hz == pytest.approx(len(truth.infer_s) / truth.wall_s, rel=0.01)
    distinct = len(np.unique(truth.frame))
    assert rates.observation_hz == pytest.approx(distinct / truth.wall_s, rel=0.01)
    # What came after the last read and before the last tick was skipped too.
    assert summary.unused_frames >= truth.frame[-1] + 1 - distinct
    fps = truth.loop.sources[0].fps or truth.loop.rate_hz
    assert summary.unused_frames <= (truth.published[-1] - truth.t0_s) * fps + 2 - distinct


def test_the_time_of_the_step_and_what_no_span_accounts_for(run):
    summary, truth = run
    step = next(span for span in summary.spans if span.id == "full")
    services, doubtful = truth.published - truth.woke, int(truth.disturbed.sum())
    assert differences("step", step.times, truth.infer_s, doubtful=doubtful) == []
    service = services.sum()
    assert 0.99 * truth.infer_s.sum() / service <= step.share <= 1
    # Between waking and publishing there is the inference, and around it what spans and overhead share.
    around = (service - truth.infer_s.sum()) / service
    assert 0 <= summary.overhead_share <= 1.01 * around + NEAR_S * len(truth.slot) / service


def test_the_warm_up_is_none_of_it(run):
    summary, truth = run
    assert summary.warm_up.inferences * truth.loop.execution.use >= truth.published_before
    assert truth.published_before > (summary.warm_up.inferences - 1) * truth.loop.execution.use


def test_few_ticks_are_doubtful(run):
    _, truth = run
    assert truth.disturbed.mean() < 0.1


def test_a_figure_that_is_off_by_two_percent_is_noticed(run):
    summary, truth = run
    wrong = replace(summary.response, p95=nearest_rank(truth.responses, 0.95) * 1.02 + NEAR_S)
    assert "response p95" in " ".join(differences("response", wrong, truth.responses))
