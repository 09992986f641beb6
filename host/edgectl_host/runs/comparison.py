"""Whether one release is slower than another, from interleaved blocks. Pure: response times in, ratios out.

The blocks are A B A B …, so that the i-th of both saw the same state of the machine: rounds are drawn with replacement,
both blocks of a round together, and the statistic is taken of all response times drawn (paired block bootstrap). Few
blocks make the plain percentile interval too narrow, so it is widened as t is wider than the normal distribution
(Hesterberg, What Teachers Should Know About the Bootstrap, 2015: the expanded percentile interval). With five rounds
it is nearly the range of what can be drawn.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from edgectl_protos.domain.errors import UsageError
from edgectl_protos.domain.run import SAMPLE_FLOORS
from edgectl_protos.domain.verdict import Outcome

__all__ = ["MIN_BLOCKS", "THRESHOLD", "Change", "Ratio", "compare", "outcome_of"]

MIN_BLOCKS = 5
THRESHOLD = 0.02
"""A smaller change is of no practical use: no robot notices it, and another boot of the machine makes it."""

_RESAMPLES = 2000
_STATISTICS = {"p50": 0.5, "p99": 0.99}
Times = npt.NDArray[np.float64]


class Change(enum.Enum):
    """What the blocks show of B against A."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    """The whole interval is within the threshold."""
    NOT_SHOWN = "not_shown"


@dataclass(frozen=True, slots=True)
class Ratio:
    """One statistic of the response time: B over A, with its 95 % interval. Below 1 B is faster.

    `detectable` is the smallest change that these blocks could have shown, as a fraction. A statistic without its
    samples has none of it; `n` is the smaller number of samples, `needed` its floor.
    """

    statistic: str
    n: int
    needed: int
    a_s: float | None = None
    b_s: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    detectable: float | None = None
    change: Change = Change.NOT_SHOWN


def compare(
    a_blocks: Sequence[Times], b_blocks: Sequence[Times], *, threshold: float = THRESHOLD, seed: int = 0
) -> tuple[Ratio, ...]:
    """Ratios of the median and of p99, of response times in seconds; the i-th blocks ran one after the other.

    Raises:
        UsageError: there are too few blocks.
    """
    rounds = len(a_blocks)
    if rounds != len(b_blocks) or rounds < MIN_BLOCKS:
        raise UsageError(
            f"{rounds} and {len(b_blocks)} blocks cannot be compared; each needs {MIN_BLOCKS}",
            hint=f"edgectl compare --blocks {MIN_BLOCKS}",
        )
    n = min(sum(block.size for block in blocks) for blocks in (a_blocks, b_blocks))
    random = np.random.default_rng(seed)
    draws = random.integers(0, rounds, (_RESAMPLES, rounds))
    return tuple(
        _ratio(name, fraction, n, a_blocks, b_blocks, draws, threshold)
        if n >= SAMPLE_FLOORS[name]
        else Ratio(name, n, SAMPLE_FLOORS[name])
        for name, fraction in _STATISTICS.items()
    )


def outcome_of(ratios: Sequence[Ratio], *, threshold: float = THRESHOLD) -> Outcome:
    """FAIL: a statistic shows that B is slower. PASS: every interval excludes that it is, beyond the threshold. Else
    the blocks were too few, or the machine too noisy, to say. Statistics without their samples do not count.
    """
    highs = [ratio.high for ratio in ratios if ratio.high is not None]
    if any(ratio.change is Change.SLOWER for ratio in ratios):
        return Outcome.FAIL
    return Outcome.PASS if highs and max(highs) <= 1 + threshold else Outcome.INCONCLUSIVE


def _ratio(
    name: str,
    fraction: float,
    n: int,
    a_blocks: Sequence[Times],
    b_blocks: Sequence[Times],
    draws: npt.NDArray[np.int64],
    threshold: float,
) -> Ratio:
    a_s, b_s = (_quantile(np.concatenate(blocks), fraction) for blocks in (a_blocks, b_blocks))
    # The same rounds are drawn again and again: few rounds have few different draws.
    found: dict[tuple[int, ...], float] = {}
    logs = np.empty(len(draws))
    for index, drawn in enumerate(np.sort(draws, axis=1)):
        key = tuple(int(round_) for round_ in drawn)
        if key not in found:
            a, b = (_quantile(np.concatenate([blocks[i] for i in key]), fraction) for blocks in (a_blocks, b_blocks))
            found[key] = math.log(b / a)
        logs[index] = found[key]
    tail = _tail(len(a_blocks))
    low, high = np.quantile(logs, [tail, 1 - tail])
    return Ratio(
        name,
        n,
        SAMPLE_FLOORS[name],
        a_s,
        b_s,
        b_s / a_s,
        math.exp(low),
        math.exp(high),
        math.exp((high - low) / 2) - 1,
        _change(low, high, math.log(b_s / a_s), math.log1p(threshold)),
    )


def _change(low: float, high: float, middle: float, limit: float) -> Change:
    if -limit <= low and high <= limit:
        return Change.SAME
    if low > 0 and middle >= limit:
        return Change.SLOWER
    if high < 0 and middle <= -limit:
        return Change.FASTER
    return Change.NOT_SHOWN


def _quantile(samples: Times, fraction: float) -> float:
    return float(np.quantile(samples, fraction, method="inverted_cdf"))


def _tail(rounds: int, level: float = 0.95) -> float:
    """The share to cut off at each end, of a bootstrap over this many rounds."""
    freedom = rounds - 1
    z = NormalDist().inv_cdf((1 + level) / 2)
    # Student's t by Cornish and Fisher's expansion (Abramowitz and Stegun 26.7.5); at 4 degrees 0.3 % too small.
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    return NormalDist().cdf(-t * math.sqrt(rounds / freedom))
