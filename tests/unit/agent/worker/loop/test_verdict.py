"""How often the judge is wrong, over simulated runs whose true rate of late ticks is known."""

from __future__ import annotations

import numpy as np
import pytest

from edgectl_agent.worker.loop.statistics import dispersion
from edgectl_protos.domain.run import Exceedances
from edgectl_protos.domain.verdict import Outcome, judge
from edgectl_testkit.runs import counted, run_summary

RUNS = 200
LENGTHS = (30, 100, 300, 1000, 2000, 4000, 10_000, 100_000)


def independent(random, n, rate):
    return random.random(n) < rate


def every_tenth(random, n, rate):
    """A policy that infers at each tenth tick: the others are never late."""
    late = np.zeros(n, bool)
    inferring = np.arange(random.integers(10), n, 10)
    late[inferring] = random.random(len(inferring)) < 10 * rate
    return late


def stalls_of_five(random, n, rate):
    """A stall may begin at any tick, and makes five late."""
    begins = random.random(n + 4) < 1 - (1 - rate) ** (1 / 5)
    sums = np.concatenate([[0], np.cumsum(begins)])
    return sums[5:] > sums[:-5]


def bursts(random, n, rate):
    """Stretches of late ticks, five long on average, whose lengths differ."""
    stays = {True: 1 / 5, False: rate / 5 / (1 - rate)}
    parts, state, length = [], bool(random.random() < rate), 0
    while length < n:
        stretch = int(random.geometric(stays[state]))
        parts.append(np.full(min(stretch, n), state))
        length += stretch
        state = not state
    return np.concatenate(parts)[:n]


@pytest.fixture(scope="module")
def verdicts():
    """What the judge says of so many runs of this length."""
    summary = run_summary()
    (limit,) = summary.loop.deadlines.limits

    def judged(late_of, n, rate):
        random = np.random.default_rng(n)
        found = []
        for _ in range(RUNS):
            late = late_of(random, n, rate)
            exceedances = Exceedances(limit, n, int(late.sum()), dispersion(late))
            found.append(judge(counted(summary, exceedances)).outcome)
        return found

    return judged


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("late_of", [independent, every_tenth, stalls_of_five, bursts])
def test_a_policy_just_inside_its_limit_seldom_fails_and_one_just_outside_seldom_passes(verdicts, late_of, n):
    assert verdicts(late_of, n, 0.0099).count(Outcome.FAIL) <= 0.05 * RUNS
    assert verdicts(late_of, n, 0.0101).count(Outcome.PASS) <= 0.05 * RUNS


@pytest.mark.parametrize("late_of", [independent, every_tenth, stalls_of_five, bursts])
def test_a_policy_clear_of_its_limit_is_decided_by_a_run_long_enough(verdicts, late_of):
    assert verdicts(late_of, 40_000, 0.003).count(Outcome.PASS) >= 0.9 * RUNS
    assert verdicts(late_of, 40_000, 0.03).count(Outcome.FAIL) >= 0.9 * RUNS


@pytest.mark.parametrize(
    ("late_of", "rate", "outcome"), [(independent, 0.001, Outcome.PASS), (independent, 0.04, Outcome.FAIL)]
)
def test_a_run_of_the_default_length_decides_the_ordinary_case(verdicts, late_of, rate, outcome):
    assert verdicts(late_of, 2100, rate).count(outcome) >= 0.95 * RUNS


# --- dispersion ------------------------------------------------------------------------------------------------------


def test_independent_ticks_have_a_dispersion_near_one():
    random = np.random.default_rng(1)
    found = [dispersion(independent(random, 5000, 0.02)) for _ in range(50)]
    assert 1.0 <= np.median(found) < 1.6


def test_a_burst_counts_once_even_in_a_short_run():
    late = np.zeros(60, bool)
    late[20:30] = True
    assert dispersion(late) > 10


def test_what_comes_and_goes_slowly_is_seen_by_its_blocks():
    random = np.random.default_rng(1)
    busy = np.repeat(np.arange(40) % 4 == 0, 250)
    assert dispersion(random.random(10_000) < np.where(busy, 0.2, 0.001)) > 5


def test_regular_ticks_earn_no_credit():
    late = np.zeros(1000, bool)
    late[::10] = True
    assert dispersion(late) == 1.0


@pytest.mark.parametrize("late", [np.zeros(40, bool), np.ones(40, bool), np.zeros(0, bool)])
def test_nothing_to_disperse_is_one(late):
    assert dispersion(late) == 1.0
