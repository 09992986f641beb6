"""The absolute schedule: slot n is due at t0 + n·T, whatever happened before.

`Grid` is shared by ticks and sources: at equal rates a frame is due exactly when its tick is, which two
roundings would undo after a few thousand ticks.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgectl_protos.domain.loop import Overrun

__all__ = ["Grid", "next_slot"]


@dataclass(frozen=True, slots=True)
class Grid:
    """Equidistant moments from `t0_ns` at a rate."""

    t0_ns: int
    rate_hz: float

    def at(self, slot: int) -> int:
        """When the slot is due."""
        return self.t0_ns + int(slot * 1e9 / self.rate_hz)

    def latest(self, now_ns: int) -> int:
        """The last slot that is due at or before now."""
        slot = int((now_ns - self.t0_ns) * self.rate_hz / 1e9)
        while self.at(slot + 1) <= now_ns:
            slot += 1
        while self.at(slot) > now_ns:
            slot -= 1
        return slot


def next_slot(grid: Grid, previous: int, now_ns: int, overrun: Overrun) -> int:
    """The slot to serve after `previous`: the next one, or under `skip` the next that is not past."""
    slot = previous + 1
    if overrun is Overrun.BURST or grid.at(slot) >= now_ns:
        return slot
    latest = grid.latest(now_ns)
    return latest if grid.at(latest) == now_ns else latest + 1
