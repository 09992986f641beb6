"""The verdict: what passes, what fails, and what cannot be said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_protos.domain.loop import Deadlines
from edgectl_protos.domain.run import Misses, Outcome, Percentiles, judge
from edgectl_testkit.runs import run_summary

LIMITS = Deadlines(tick_s=0.033, age_s=0.1, miss_rate=0.01, miss_run=2)


def test_a_loop_within_its_deadlines_passes():
    assert judge(run_summary(), LIMITS).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"response": Percentiles(500, 0.01, 0.02, 0.03, 0.03, 0.034, None, 0.04)}, ("tick", "p99")),
        ({"age": Percentiles(500, 0.01, 0.02, 0.03, 0.03, 0.2, None, 0.3)}, ("age", "p99")),
        ({"misses": Misses(6, 0.012, 1, 0)}, ("misses", "rate")),
        ({"misses": Misses(3, 0.006, 3, 0)}, ("misses", "run")),
    ],
)
def test_each_deadline_fails_by_itself(change, check):
    verdict = judge(replace(run_summary(), **change), LIMITS)
    assert verdict.outcome is Outcome.FAIL
    assert [(c.name, c.statistic) for c in verdict.checks if c.outcome is Outcome.FAIL] == [check]


def test_exactly_at_the_limit_passes():
    summary = replace(run_summary(), misses=Misses(5, 0.01, 2, 0))
    assert judge(summary, LIMITS).outcome is Outcome.PASS


def test_the_highest_percentile_with_its_samples_is_judged():
    summary = replace(run_summary(), response=Percentiles(95, 0.01, 0.02, 0.03, 0.034, None, None, 0.2))
    assert judge(summary, LIMITS).checks[0].statistic == "p95"
    assert judge(summary, LIMITS).outcome is Outcome.FAIL


def test_without_samples_for_a_median_nothing_can_be_said():
    summary = replace(run_summary(), response=Percentiles(12, 0.01, max=0.02))
    verdict = judge(summary, LIMITS)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.checks[0].observed is None


def test_a_failure_outweighs_a_lack_of_samples():
    summary = replace(run_summary(), response=Percentiles(12), misses=Misses(9, 0.75, 9, 0))
    assert judge(summary, LIMITS).outcome is Outcome.FAIL


def test_an_age_without_a_deadline_is_not_judged():
    assert all(check.name != "age" for check in judge(run_summary(), replace(LIMITS, age_s=None)).checks)


def test_a_run_is_judged_by_the_deadlines_of_its_own_loop():
    summary = run_summary()
    strict = replace(summary, loop=replace(summary.loop, deadlines=Deadlines(tick_s=0.001)))
    assert judge(strict).outcome is Outcome.FAIL
