"""How surely a share is known: the Clopper-Pearson interval of a count of ticks that are not independent.

C. Clopper and E. Pearson, Biometrika 26 (1934): the bounds are quantiles of beta distributions. Over-dispersed counts
are those of fewer, independent ticks (the effective sample size, n over the dispersion). Two-sided at 95 %, so that
each bound is wrong in one run of forty; the other half of the 5 % that a verdict may err is for the dispersion, which
is an estimate itself.
"""

from __future__ import annotations

import math

__all__ = ["BURST_TICKS", "interval_of", "side_of"]

BURST_TICKS = 5
"""Late ticks are taken to come in bursts of this many until enough of them were seen to know better."""

_EACH_SIDE = 0.025


def interval_of(count: float, n: float, dispersion: float) -> tuple[float, float]:
    """The interval of the share of which `count` of `n` is a sample, as (low, high)."""
    count, n = _effective(count, n, dispersion)
    low = _quantile(_EACH_SIDE, count, n - count + 1) if count > 0 else 0.0
    high = _quantile(1 - _EACH_SIDE, count + 1, n - count) if count < n else 1.0
    return low, high


def side_of(share: float, count: float, n: float, dispersion: float) -> int:
    """Where the interval lies: -1 all of it at or below this share, 1 all of it above, 0 on both sides.

    Two values of the distribution, where the bounds themselves take fifty.
    """
    count, n = _effective(count, n, dispersion)
    if share >= 1 or (count < n and _beta(share, count + 1, n - count) >= 1 - _EACH_SIDE):
        return -1
    return 1 if count > 0 and _beta(share, count, n - count + 1) <= _EACH_SIDE else 0


def _effective(count: float, n: float, dispersion: float) -> tuple[float, float]:
    """Count and size of the independent sample that says as much.

    The dispersion is that of the sample together with one burst of `BURST_TICKS` that it did not see: five singles say
    little about bursts, and no late tick at all says nothing. Where the sample has bursts itself, its dispersion is
    known as well as their number m allows, within about 1 / √m of it.
    """
    with_unseen = (count * dispersion + BURST_TICKS**2) / (count + BURST_TICKS)
    bursts = max(1.0, count / dispersion)
    used = max(with_unseen, 1 + (dispersion - 1) * (1 + bursts**-0.5))
    return count / used, n / used


def _quantile(probability: float, a: float, b: float) -> float:
    """The quantile of a beta distribution, by bisection."""
    low, high = 0.0, 1.0
    while high - low > 1e-7 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _beta(middle, a, b) < probability else (low, middle)
    return (low + high) / 2


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b) for 0 < x < 1."""
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _beta(1.0 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(front) / (a * _fraction(x, a, b))


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of I_x, DLMF 8.17.22, by Lentz's method."""
    tiny = 1e-300
    value, c, d = 1.0, 1.0, 0.0
    for j in range(1, 10_000):
        m = j // 2
        term = -(a + m) * (a + b + m) * x if j % 2 else m * (b - m) * x
        term /= (a + j - 1) * (a + j)
        d = 1.0 / (1.0 + term * d or tiny)
        c = 1.0 + term / c or tiny
        value *= c * d
        if abs(c * d - 1.0) < 1e-12:
            break
    return value
