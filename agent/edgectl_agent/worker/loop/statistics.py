"""From stamps to figures: percentiles above their sample floors, misses, and the slots that were lost.

Under `skip` an overrun loses slots. Each lost slot is charged with the time from when it was due to the
action of the next tick that ran, so a stall counts once for every slot it delayed, as it does under
`burst`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgectl_agent.worker.loop.schedule import Grid
from edgectl_protos.domain.run import SAMPLE_FLOORS, Misses, Percentiles

__all__ = ["Slots", "percentiles", "slots_of"]

_Times = npt.NDArray[np.int64]
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


@dataclass(frozen=True, slots=True)
class Slots:
    """Response times of all slots up to the last tick that ran, in order; `ran` is False for lost ones.

    `unserved` slots came after it: nothing was published for them at all.
    """

    responses_ns: _Times
    ran: npt.NDArray[np.bool_]
    unserved: int = 0

    def misses(self, deadline_ns: int) -> Misses:
        """Ticks over the deadline; a lost slot is always a miss."""
        missed = np.concatenate([(self.responses_ns > deadline_ns) | ~self.ran, np.ones(self.unserved, np.bool_)])
        count = int(missed.sum())
        return Misses(
            count=count,
            rate=count / missed.size if missed.size else 0.0,
            longest_run=_longest_run(missed),
            skipped=int((~self.ran).sum()) + self.unserved,
        )

    def starved(self, period_ns: int) -> int:
        """Slots that went by without an action of their own."""
        return int((self.responses_ns > period_ns).sum()) + self.unserved


def slots_of(slot: _Times, published_ns: _Times, grid: Grid, slots: int) -> Slots:
    """Every slot of a paced run, from the ticks that ran: `slot` ascending, `slots` scheduled in all."""
    served = int(slot[-1]) + 1 if slot.size else 0
    due = np.array([grid.at(k) for k in range(served)], np.int64)
    # For each slot the first tick that ran at it or after it; for one that ran, itself.
    next_tick = np.searchsorted(slot, np.arange(served))
    ran = np.zeros(served, np.bool_)
    ran[slot] = True
    return Slots(published_ns[next_tick] - due, ran, unserved=slots - served)


def _longest_run(missed: npt.NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missed, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))
