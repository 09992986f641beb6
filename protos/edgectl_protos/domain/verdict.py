"""A verdict: whether a run holds its deadlines, as far as its samples show."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from edgectl_protos.domain.interference import Disturbance
from edgectl_protos.domain.interval import interval_of, side_of
from edgectl_protos.domain.loop import EXCEEDING_SHARES, MAX_TICKS, Deadlines, Limit, Metric
from edgectl_protos.domain.run import Exceedances, RunSummary

__all__ = ["Check", "Outcome", "Verdict", "judge"]


class Outcome(enum.Enum):
    """PASS, FAIL, or too little evidence to say."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Check:
    """One limit judged.

    Of `n` samples `count` were over it, so that the true share lies from `low` to `high` (95 %), against the share that
    the limit allows. `observed` is the limit's own statistic, in its unit; None below its sample floor. A bound on what
    was seen (`run`, `max`, a rate of 0) has no interval. `deciding_ticks`: how long a run with the same share decides;
    None where this one did, or where none could. `counted`: False where the run did not count against this limit.
    """

    limit: Limit
    outcome: Outcome
    observed: float | None = None
    n: int = 0
    count: int = 0
    low: float | None = None
    high: float | None = None
    deciding_ticks: int | None = None
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """INCONCLUSIVE if the run was disturbed; else FAIL if a check fails, INCONCLUSIVE if one is, else PASS."""

    outcome: Outcome
    checks: tuple[Check, ...]
    disturbances: tuple[Disturbance, ...] = ()


def judge(summary: RunSummary, deadlines: Deadlines | None = None) -> Verdict:
    """The verdict on a run, against its own loop's deadlines unless others are given.

    A percentile or a rate is a statement about the share of ticks beyond a limit, and that share is known within an
    interval (`domain/interval.py`): PASS when all of it is allowed, FAIL when none of it is. Of other deadlines than
    the run's own, those are judged whose time the run counted: p95 and p99 of one time are two shares of one count.
    """
    checks = tuple(_check(summary, limit) for limit in (deadlines or summary.loop.deadlines).statements)
    disturbances = summary.disturbances
    if disturbances:
        unsure = tuple(replace(check, outcome=Outcome.INCONCLUSIVE, deciding_ticks=None) for check in checks)
        return Verdict(Outcome.INCONCLUSIVE, unsure, disturbances)
    outcomes = {check.outcome for check in checks}
    worst = next((o for o in (Outcome.FAIL, Outcome.INCONCLUSIVE) if o in outcomes), Outcome.PASS)
    return Verdict(worst, checks)


def _check(summary: RunSummary, limit: Limit) -> Check:
    if not limit.is_known:
        return Check(limit, Outcome.INCONCLUSIVE, counted=False)
    if limit.statistic == "run":
        longest = summary.misses.longest_run
        # Ticks stand in no count of their own: what was seen is all there is.
        outcome = Outcome.FAIL if longest > limit.limit else Outcome.PASS
        return Check(limit, outcome, float(longest), summary.ticks, summary.misses.count)
    counted = next((known for known in summary.exceedances if _same_count(known.limit, limit)), None)
    if counted is None:
        return Check(limit, Outcome.INCONCLUSIVE, counted=False)
    n, count = counted.n, counted.count
    times = {Metric.TICK: summary.response, Metric.AGE: summary.age}.get(limit.metric)
    observed: float | None = getattr(times, limit.statistic) if times else (count / n if n else None)
    if not n:
        return Check(limit, Outcome.INCONCLUSIVE)
    if limit.share == 0:
        return Check(limit, Outcome.FAIL if count else Outcome.PASS, observed, n, count)
    side = side_of(limit.share, count, n, counted.dispersion)
    deciding = None if side else _deciding(counted, limit.share)
    return Check(limit, _SIDES[side], observed, n, count, *interval_of(count, n, counted.dispersion), deciding)


def _same_count(one: Limit, other: Limit) -> bool:
    percentiles = one.statistic in EXCEEDING_SHARES and other.statistic in EXCEEDING_SHARES
    return one == other or (percentiles and (one.metric, one.limit) == (other.metric, other.limit))


_SIDES = {-1: Outcome.PASS, 0: Outcome.INCONCLUSIVE, 1: Outcome.FAIL}


def _deciding(counted: Exceedances, share: float) -> int | None:
    """The shortest run that decides, if late ticks go on coming at the rate and in the bursts of this one."""
    rate = counted.count / counted.n

    def decides(n: int) -> bool:
        return side_of(share, rate * n, n, counted.dispersion) != 0

    high = counted.n
    while not decides(high):
        high *= 2
        if high > MAX_TICKS:
            return None
    low = high // 2
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high
