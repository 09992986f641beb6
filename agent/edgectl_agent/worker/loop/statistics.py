"""From stamps to figures: percentiles above their sample floors, misses, and how surely their share is known.

Under `skip` an overrun loses slots. Each lost slot is charged with the time from when it was due to the action of the
next tick that ran, so a stall counts once for every slot it delayed, as it does under `burst`. A slot after which no
tick ran is charged with the time until the run was over: its response was longer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgectl_agent.worker.loop.schedule import Grid
from edgectl_protos.domain.run import SAMPLE_FLOORS, Misses, Percentiles

__all__ = ["Slots", "dispersion", "percentiles", "slots_of"]

_Times = npt.NDArray[np.int64]
_Mask = npt.NDArray[np.bool_]
_MIN_BLOCKS = 20
_FRACTIONS = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}


def percentiles(durations_ns: _Times) -> Percentiles:
    """Percentiles in seconds, each an observed value, None below its floor."""
    n = int(durations_ns.size)
    if not n:
        return Percentiles(0)
    names = [name for name in _FRACTIONS if n >= SAMPLE_FLOORS[name]]
    values = np.percentile(durations_ns, [_FRACTIONS[name] for name in names], method="inverted_cdf")
    found = {name: float(value) / 1e9 for name, value in zip(names, values, strict=True)}
    return Percentiles(
        n=n,
        min=float(durations_ns.min()) / 1e9,
        max=float(durations_ns.max()) / 1e9,
        **found,
    )


def dispersion(over: _Mask) -> float:
    """The variance of the number of samples that are over a limit, as a multiple of the binomial one; at least 1.

    The largest of two estimates, since either misses what the other sees: that of a two-state Markov chain,
    (1 + r) / (1 - r) for the correlation r of neighbours, for bursts in short runs; and the variance of counts over
    blocks of 2, 4, 8 … samples, at least 20 of them, for what comes and goes slowly.
    """
    n, count = over.size, int(over.sum())
    if not 0 < count < n:
        return 1.0
    share = count / n
    variance = share * (1 - share)
    r = (float((over[1:] & over[:-1]).sum()) / (n - 1) - share**2) / variance
    found = [1.0, (1 + r) / (1 - r) if r < 1 else float(n)]
    sums = np.concatenate([[0], np.cumsum(over)])
    length = 2
    while n // length >= _MIN_BLOCKS:
        counts = np.diff(sums[: n // length * length + 1 : length])
        found.append(float(counts.var(ddof=1)) / (length * variance))
        length *= 2
    return max(found)


@dataclass(frozen=True, slots=True)
class Slots:
    """Response times of all slots, in order; `ran` is False for lost ones."""

    responses_ns: _Times
    ran: _Mask

    def late(self, deadline_ns: int) -> _Mask:
        """Which slots responded after the deadline."""
        return self.responses_ns > deadline_ns

    def misses(self, deadline_ns: int) -> Misses:
        """The slots after the deadline, and those that were lost."""
        late = self.late(deadline_ns)
        count = int(late.sum())
        return Misses(
            count=count,
            rate=count / late.size if late.size else 0.0,
            longest_run=_longest_run(late),
            skipped=int((~self.ran).sum()),
        )

    def starved(self, period_ns: int) -> _Mask:
        """Which slots went by without an action of their own."""
        return (self.responses_ns > period_ns) | ~self.ran


def slots_of(slot: _Times, published_ns: _Times, grid: Grid, slots: int, over_ns: int) -> Slots:
    """Every slot of a run until `over_ns`, from the ticks that ran: `slot` ascending, `slots` scheduled in all."""
    due = np.array([grid.at(k) for k in range(slots)], np.int64)
    # For each slot the first tick that ran at it or after it; for one that ran, itself. An action after the end would
    # have come later than it.
    next_tick = np.searchsorted(slot, np.arange(slots))
    answered = np.append(published_ns, over_ns + 1)[next_tick]
    ran = np.zeros(slots, np.bool_)
    ran[slot] = True
    return Slots(answered - due, ran)


def _longest_run(missed: _Mask) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missed, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))
