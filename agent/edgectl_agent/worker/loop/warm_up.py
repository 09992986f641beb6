"""The warm-up rule: discard inferences until two windows of 20 in a row agree within 5 %, with a cap."""

from __future__ import annotations

import statistics

from edgectl_protos.domain.run import WarmUp

__all__ = ["WarmUpRule"]

_WINDOW = 20
_AGREEMENT = 0.05
_MAX_INFERENCES = 200
_MAX_S = 60.0


class WarmUpRule:
    """Takes durations one by one and says when to stop."""

    def __init__(self) -> None:
        self._window: list[int] = []
        self._last_median: float | None = None
        self._inferences = 0
        self._seconds = 0.0
        self._met = False

    def add(self, duration_ns: int, elapsed_s: float) -> bool:
        """Count one inference, `elapsed_s` after the first began; True when warming up is over."""
        self._inferences += 1
        self._seconds = elapsed_s
        self._window.append(duration_ns)
        if len(self._window) == _WINDOW:
            median = statistics.median(self._window)
            last = self._last_median
            self._met = last is not None and abs(median - last) <= _AGREEMENT * last
            self._last_median = median
            self._window = []
        return self._met or self._inferences >= _MAX_INFERENCES or elapsed_s >= _MAX_S

    @property
    def progress(self) -> float:
        """How near the cap is, 0..1."""
        return min(1.0, max(self._inferences / _MAX_INFERENCES, self._seconds / _MAX_S))

    @property
    def result(self) -> WarmUp:
        """What was discarded, and whether the rule was met."""
        return WarmUp(self._inferences, self._seconds, self._met)
