"""Temporal ensembling: each action is the weighted mean of every prediction made for its tick.

Online, as LeRobot does it: for the actions still to come the weighted mean and the number of predictions in it are
kept; w_i = exp(-coefficient * i), the oldest prediction i = 0 (https://huggingface.co/papers/2304.13705).
"""

from __future__ import annotations

import numpy as np

from edgectl_agent.worker.release import Array

__all__ = ["TemporalEnsemble"]


class TemporalEnsemble:
    """Takes a chunk [chunk, ...] each tick, gives the action [1, ...] of this tick."""

    def __init__(self, chunk: int, coefficient: float) -> None:
        weights = np.exp(-coefficient * np.arange(chunk))
        self._weights = weights.astype(np.float32)
        self._sums = np.cumsum(weights).astype(np.float32)
        self._mean: Array | None = None
        self._counts = np.empty(0, np.intp)

    def reset(self) -> None:
        """Forget all predictions."""
        self._mean = None

    def __call__(self, chunk: Array) -> Array:
        """The action of this tick."""
        if self._mean is None:
            mean, counts = chunk.astype(np.float32), np.ones(len(chunk), np.intp)
        else:
            lead = (slice(None),) + (None,) * (chunk.ndim - 1)
            total = self._sums[self._counts - 1][lead]
            weight = self._weights[self._counts][lead]
            mean = (self._mean * total + chunk[:-1] * weight) / self._sums[self._counts][lead]
            counts = np.minimum(self._counts + 1, len(chunk))
            mean = np.concatenate([mean, chunk[-1:]])
            counts = np.concatenate([counts, np.ones(1, np.intp)])
        self._mean, self._counts = mean[1:], counts[1:]
        action: Array = mean[:1]
        return action
