"""Bilinear resizing as torch's `F.interpolate(mode="bilinear", align_corners=False)` does it.

Half-pixel centres, edges clamped, no antialiasing, float32, rounded to uint8. Separable: first rows, then
columns, with indices and weights computed once per pair of sizes and buffers kept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgectl_agent.worker.release import Array

__all__ = ["BilinearResizer"]

_Indices = npt.NDArray[np.intp]


class BilinearResizer:
    """Resizes uint8 [height, width, channels] frames from one size to another."""

    def __init__(self, source: tuple[int, int, int], height: int, width: int) -> None:
        self.source = source
        self._top, self._bottom, self._down = _taps(source[0], height)
        self._left, self._right, self._across = _taps(source[1], width)
        self._down = self._down[:, None, None]
        self._across = self._across[None, :, None]
        self._rows = np.empty((height, source[1], source[2]), np.float32)
        self._frame = np.empty((height, width, source[2]), np.float32)

    def __call__(self, frame: Array) -> Array:
        """The frame at the new size."""
        rows, result = self._rows, self._frame
        upper, lower = frame[self._top], frame[self._bottom]
        np.subtract(lower, upper, out=rows, dtype=np.float32)
        rows *= self._down
        rows += upper
        left = rows[:, self._left]
        np.subtract(rows[:, self._right], left, out=result)
        result *= self._across
        result += left
        np.rint(result, out=result)
        return result.astype(np.uint8)


def _taps(source: int, target: int) -> tuple[_Indices, _Indices, npt.NDArray[np.float32]]:
    """Two neighbours and the weight of the second, for each position of the target."""
    centres = (np.arange(target, dtype=np.float32) + np.float32(0.5)) * np.float32(source / target)
    centres = np.maximum(centres - np.float32(0.5), np.float32(0))
    first = np.minimum(centres.astype(np.intp), source - 1)
    second = np.minimum(first + 1, source - 1)
    return first, second, centres - first.astype(np.float32)
