"""Ratios with intervals from interleaved blocks: what is shown, what is not, and how often it is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from edgectl_host.runs.comparison import Change, compare, outcome_of
from edgectl_protos.domain.errors import UsageError
from edgectl_protos.domain.verdict import Outcome


def blocks(seed, *, rounds=5, size=100, median_s=0.010, drift=0.0, spread=0.02):
    """Response times whose level differs from block to block by `drift`, within one by `spread`."""
    random = np.random.default_rng(seed)
    levels = median_s * np.exp(random.normal(0, drift, rounds))
    return [level * np.exp(random.normal(0, spread, size)) for level in levels]


def slowed(found, factor):
    return [block * factor for block in found]


def test_a_release_that_takes_twice_as_long_is_slower_in_median_and_p99():
    a = blocks(1)
    p50, p99 = compare(a, slowed(blocks(2), 2.0))
    assert (p50.change, p99.change) == (Change.SLOWER, Change.SLOWER)
    assert p50.low < 2.0 < p50.high
    assert p50.ratio == pytest.approx(p50.b_s / p50.a_s)
    assert outcome_of((p50, p99)) is Outcome.FAIL


def test_a_release_that_takes_half_as_long_passes():
    ratios = compare(blocks(1), slowed(blocks(2), 0.5))
    assert {ratio.change for ratio in ratios} == {Change.FASTER}
    assert outcome_of(ratios) is Outcome.PASS


def test_equal_releases_on_a_quiet_machine_are_the_same_and_pass():
    p50, _ = compare(blocks(1, spread=0.001, size=500), blocks(2, spread=0.001, size=500))
    assert p50.change is Change.SAME
    assert outcome_of((p50,)) is Outcome.PASS
    assert p50.detectable < 0.02


def test_on_a_noisy_machine_nothing_is_shown_and_it_says_what_would_have_been():
    p50, _ = compare(blocks(1, drift=0.1), blocks(2, drift=0.1))
    assert p50.change is Change.NOT_SHOWN
    assert p50.detectable > 0.05
    assert outcome_of((p50,)) is Outcome.INCONCLUSIVE


def test_a_difference_below_the_threshold_is_no_difference():
    a = blocks(1, spread=0.0001, size=500)
    (same, _), (slower, _) = compare(a, slowed(a, 1.01)), compare(a, slowed(a, 1.01), threshold=0.005)
    assert (same.change, slower.change) == (Change.SAME, Change.SLOWER)


def test_what_both_saw_of_the_machine_cancels():
    rounds = np.exp(np.random.default_rng(3).normal(0, 0.3, 5))
    a, b = blocks(1, spread=0.001), blocks(2, spread=0.001)
    a, b = ([block * level for block, level in zip(found, rounds, strict=True)] for found in (a, slowed(b, 1.1)))
    p50, _ = compare(a, b)
    assert p50.change is Change.SLOWER


def test_a_statistic_without_its_samples_is_not_given():
    p50, p99 = compare(blocks(1, size=60), blocks(2, size=60))
    assert p50.ratio is not None
    assert (p99.ratio, p99.n, p99.needed) == (None, 300, 459)
    few = compare(blocks(1, size=5), blocks(2, size=5))
    assert all(ratio.ratio is None for ratio in few)
    assert outcome_of(few) is Outcome.INCONCLUSIVE


def test_fewer_than_five_rounds_or_unequal_ones_are_refused():
    with pytest.raises(UsageError, match="4 and 4 blocks"):
        compare(blocks(1, rounds=4), blocks(2, rounds=4))
    with pytest.raises(UsageError):
        compare(blocks(1, rounds=6), blocks(2, rounds=5))


def test_the_same_samples_give_the_same_interval():
    a, b = blocks(1), blocks(2)
    assert compare(a, b) == compare(a, b)


def test_the_interval_holds_the_true_ratio_nineteen_times_in_twenty():
    trials = 200
    held = 0
    for trial in range(trials):
        kwargs = {"size": 20, "drift": 0.05}
        p50, _ = compare(blocks(2 * trial, **kwargs), slowed(blocks(2 * trial + 1, **kwargs), 1.3), seed=trial)
        held += p50.low <= 1.3 <= p50.high
    # 95 % less three standard errors of 200 trials.
    assert held / trials >= 0.90
