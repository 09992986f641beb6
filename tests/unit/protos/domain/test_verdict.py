"""The verdict: what passes, what fails, and what cannot be said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_protos.domain.interference import Disturbance, Interference
from edgectl_protos.domain.loop import Deadlines, Limit, Metric
from edgectl_protos.domain.run import Exceedances, Misses, Percentiles
from edgectl_protos.domain.verdict import Outcome, judge
from edgectl_testkit.runs import counted, run_summary

TICK = Limit(Metric.TICK, "p99", 0.033)
AGE = Limit(Metric.AGE, "p95", 0.1)
RUN = Limit(Metric.MISSES, "run", 2)


def judged(count, n=2100, dispersion=1.0, limit=TICK):
    """The check of one limit, of which so many samples were over."""
    others = () if limit.metric is Metric.TICK else (Exceedances(TICK, n, 0, 1.0),)
    return judge(counted(run_summary(), Exceedances(limit, n, count, dispersion), *others)).checks[0]


def test_a_loop_within_its_deadlines_passes():
    verdict = judge(run_summary())
    assert verdict.outcome is Outcome.PASS
    (check,) = verdict.checks
    assert (check.n, check.count, check.observed, check.low) == (2100, 0, 0.013, 0.0)
    assert check.high == pytest.approx(0.0087, abs=1e-4)


@pytest.mark.parametrize(
    ("count", "n", "outcome"),
    [
        (0, 1835, Outcome.INCONCLUSIVE),
        (0, 1836, Outcome.PASS),
        (6, 2100, Outcome.PASS),
        (7, 2100, Outcome.INCONCLUSIVE),
        (33, 2100, Outcome.INCONCLUSIVE),
        (34, 2100, Outcome.FAIL),
        (30, 30, Outcome.FAIL),
        (500, 100_000, Outcome.PASS),
        (1500, 100_000, Outcome.FAIL),
        (1000, 100_000, Outcome.INCONCLUSIVE),
    ],
)
def test_a_share_is_judged_by_the_whole_interval_in_which_it_may_lie(count, n, outcome):
    assert judged(count, n).outcome is outcome


def test_ticks_that_come_in_bursts_decide_less():
    assert judged(5, 3000).outcome is Outcome.PASS
    assert judged(5, 3000, dispersion=8.0).outcome is Outcome.INCONCLUSIVE


def test_an_undecided_run_says_how_long_a_deciding_one_is():
    check = judged(0, 600)
    assert 1836 <= check.deciding_ticks <= 1836 * 1.02
    assert judged(0, check.deciding_ticks).outcome is Outcome.PASS
    slow = judged(12, 600)
    assert judged(round(12 / 600 * slow.deciding_ticks), slow.deciding_ticks).outcome is Outcome.FAIL


def test_no_run_decides_a_share_that_is_its_limit():
    check = judged(21, 2100)
    assert (check.outcome, check.deciding_ticks) == (Outcome.INCONCLUSIVE, None)


@pytest.mark.parametrize(
    "limit",
    [AGE, Limit(Metric.MISSES, "rate", 0.02), Limit(Metric.STARVATION, "rate", 0.02), replace(TICK, limit=0.02)],
)
def test_each_deadline_fails_by_itself(limit):
    summary = counted(run_summary(), Exceedances(TICK, 2100, 0, 1.0), Exceedances(limit, 2100, 600, 1.0))
    verdict = judge(summary)
    assert verdict.outcome is Outcome.FAIL
    assert [check.limit for check in verdict.checks if check.outcome is Outcome.FAIL] == [limit]


@pytest.mark.parametrize("limit", [Limit(Metric.STARVATION, "rate", 0.0), Limit(Metric.TICK, "max", 0.05)])
def test_what_may_never_happen_is_judged_by_what_was_seen(limit):
    assert [judged(count, limit=limit).outcome for count in (0, 1)] == [Outcome.PASS, Outcome.FAIL]
    assert judged(0, limit=limit).high is None


def test_a_run_of_misses_is_judged_by_the_longest_seen():
    summary = replace(run_summary(), misses=Misses(3, 0.0014, 3, 0))
    deadlines = Deadlines((*summary.loop.deadlines.limits, RUN))
    assert [check.outcome for check in judge(summary, deadlines).checks] == [Outcome.PASS, Outcome.FAIL]
    allowed = Deadlines((*summary.loop.deadlines.limits, replace(RUN, limit=3)))
    assert judge(summary, allowed).outcome is Outcome.PASS


def test_percentiles_of_one_time_are_shares_of_one_count():
    summary = counted(run_summary(), Exceedances(TICK, 1000, 20, 1.0))
    p95 = replace(TICK, statistic="p95")
    verdict = judge(summary, Deadlines((p95,)))
    assert (verdict.outcome, verdict.checks[0].limit) == (Outcome.PASS, p95)
    assert judge(summary, Deadlines((replace(p95, limit=TICK.limit / 2),))).outcome is Outcome.INCONCLUSIVE


def test_a_failure_outweighs_a_lack_of_samples():
    summary = counted(run_summary(), Exceedances(TICK, 12, 0, 1.0), Exceedances(AGE, 12, 12, 1.0))
    assert judge(summary).outcome is Outcome.FAIL


def test_a_run_of_nothing_says_nothing():
    summary = replace(run_summary(), response=Percentiles(0))
    assert judge(counted(summary, Exceedances(TICK, 0, 0, 1.0))).outcome is Outcome.INCONCLUSIVE


def test_other_deadlines_are_judged_as_far_as_the_run_counted_them():
    summary = run_summary()
    own = summary.loop.deadlines.limits[0]
    verdict = judge(summary, Deadlines((own, AGE)))
    assert [(check.outcome, check.counted) for check in verdict.checks] == [
        (Outcome.PASS, True),
        (Outcome.INCONCLUSIVE, False),
    ]


# --- the machine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "disturbance"),
    [
        ({"waited_share": 0.2, "others_cpus": 0.5}, Disturbance.BUSY),
        ({"stolen_cpus": 0.1}, Disturbance.BUSY),
        ({"throttle_events": 1}, Disturbance.THROTTLED),
        ({"clock_step_s": -3600.0}, Disturbance.CLOCK_STEPPED),
        ({"suspended_s": 2.0}, Disturbance.SUSPENDED),
    ],
)
@pytest.mark.parametrize("count", [0, 2100])
def test_a_disturbed_run_is_neither_a_pass_nor_a_failure(seen, disturbance, count):
    own = run_summary().loop.deadlines.limits[0]
    summary = replace(counted(run_summary(), Exceedances(own, 2100, count, 1.0)), interference=Interference(**seen))
    verdict = judge(summary)
    assert (verdict.outcome, verdict.disturbances) == (Outcome.INCONCLUSIVE, (disturbance,))
    assert {check.outcome for check in verdict.checks} == {Outcome.INCONCLUSIVE}


def test_the_times_of_a_simulator_are_neither_a_pass_nor_a_failure():
    own, summary = run_summary().loop.deadlines.limits[0], run_summary()
    assert judge(counted(summary, Exceedances(own, 2100, 0, 1.0))).outcome is Outcome.PASS
    components = (replace(summary.components[0], simulated=True), *summary.components)
    verdict = judge(replace(counted(summary, Exceedances(own, 2100, 0, 1.0)), components=components))
    assert (verdict.outcome, verdict.disturbances) == (Outcome.INCONCLUSIVE, (Disturbance.SIMULATED,))
