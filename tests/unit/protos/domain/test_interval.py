"""Intervals of shares, against published values and against exact sums."""

from __future__ import annotations

import math

import pytest

from edgectl_protos.domain import interval
from edgectl_protos.domain.interval import BURST_TICKS, interval_of, side_of


def beta_below(x: float, a: float, b: float) -> float:
    """The share of a beta distribution below x, by the midpoint rule."""
    steps = 20_000
    whole = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    points = [x * (i + 0.5) / steps for i in range(steps)]
    return sum(math.exp(whole + (a - 1) * math.log(p) + (b - 1) * math.log1p(-p)) for p in points) * x / steps


@pytest.mark.parametrize(
    ("count", "n", "dispersion"), [(60, 200, 1.0), (150, 400, 3.0), (20, 9000, 1.5), (590, 600, 1.0)]
)
def test_the_bounds_are_those_of_clopper_and_pearson_for_the_independent_sample(count, n, dispersion):
    low, high = interval_of(count, n, dispersion)
    k, size = interval._effective(count, n, dispersion)
    assert beta_below(low, k, size - k + 1) == pytest.approx(0.025, rel=1e-3)
    assert beta_below(high, k + 1, size - k) == pytest.approx(0.975, rel=1e-3)


def test_nothing_seen_is_what_as_many_bursts_would_have_shown():
    assert interval_of(0, 1000, 1.0) == (0.0, pytest.approx(1 - 0.025 ** (BURST_TICKS / 1000)))


def test_all_of_a_sample_leaves_no_room_above():
    low, high = interval_of(500, 500, 1.0)
    assert 0.98 < low < high == 1.0


def test_a_larger_dispersion_widens_the_interval_on_both_sides():
    low, high = interval_of(100, 10_000, 1.0)
    wider_low, wider_high = interval_of(100, 10_000, 10.0)
    assert wider_low < low < 0.01 < high < wider_high


def test_few_singles_do_not_prove_that_there_are_no_bursts():
    few, many = interval_of(2, 2000, 1.0), interval_of(200, 200_000, 1.0)
    assert few[1] - few[0] > 12 * (many[1] - many[0])
    assert many[1] == pytest.approx(0.00115, abs=2e-5)


@pytest.mark.parametrize(
    ("count", "n", "dispersion"), [(0, 500, 1.0), (12, 3000, 2.0), (700, 1000, 9.0), (30, 30, 1.0)]
)
def test_the_side_of_a_share_is_where_the_interval_is(count, n, dispersion):
    low, high = interval_of(count, n, dispersion)
    inside = (low + high) / 2
    assert [side_of(share, count, n, dispersion) for share in (high + 1e-4, inside)] == [-1, 0]
    assert low == 0 or side_of(low - 1e-4, count, n, dispersion) == 1


def test_every_share_may_be_all_there_is():
    assert side_of(1.0, 30, 30, 1.0) == -1
