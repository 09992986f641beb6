"""Bilinear resizing as torch's `F.interpolate(mode="bilinear", align_corners=False)` does it.

Half-pixel centres, edges clamped, no antialiasing, float32, rounded where the result is uint8. Separable: first rows,
then columns, with indices and weights computed once per pair of sizes and buffers kept: a result is valid until the
next call.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgectl_agent.worker.release import Array
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import ProgramError
from edgectl_protos.domain.program import Anchor, Fit, Resize

__all__ = ["BilinearResizer", "frame_resizer", "placed"]

_Indices = npt.NDArray[np.intp]


class BilinearResizer:
    """Resizes frames [height, width, channels] from one size to another, into float32 or uint8."""

    def __init__(
        self,
        source: tuple[int, ...],
        height: int,
        width: int,
        *,
        fit: Fit = Fit.STRETCH,
        anchor: Anchor = Anchor.CENTRE,
        rounded: bool = True,
    ) -> None:
        self.source = source
        rows, columns = placed(source[0], source[1], height, width, fit, anchor)
        inner = (rows.stop - rows.start, columns.stop - columns.start)
        self._top, self._bottom, down = _taps(source[0], inner[0])
        self._left, self._right, across = _taps(source[1], inner[1])
        self._down = down[:, None, None]
        self._across = across[None, :, None]
        self._rows = np.empty((inner[0], source[1], source[2]), np.float32)
        self._whole = np.zeros((height, width, source[2]), np.float32)
        self._frame = self._whole[rows, columns]
        self._bytes = np.empty(self._whole.shape, np.uint8) if rounded else None

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
        if self._bytes is None:
            return self._whole
        np.rint(self._whole, out=self._bytes, casting="unsafe")
        return self._bytes


def frame_resizer(step: Resize, source: TensorSpec, target: TensorSpec) -> Callable[[Array], Array]:
    """What brings frames [..., H, W, C] like `source` to the size of `target`.

    Raises:
        ProgramError: the shapes do not meet.
    """
    shape, inner = source.shape, target.shape[-3:]
    if len(shape) != len(target.shape) or len(inner) < 3 or shape[:-3] != target.shape[:-3] or shape[-1] != inner[-1]:
        raise ProgramError(f"step {step.id!r} cannot resize {list(shape)} to {list(target.shape)}")
    if 0 in (*shape, *inner):
        raise ProgramError(f"step {step.id!r} cannot resize a frame of nothing: {list(shape)} to {list(target.shape)}")
    resize = BilinearResizer(
        shape[-3:], inner[0], inner[1], fit=step.fit, anchor=step.anchor, rounded=target.dtype is DType.UINT8
    )
    if len(shape) == 3:
        return resize
    result = np.empty(target.shape, target.dtype.value)
    into = result.reshape(-1, *inner)

    def each(frames: Array) -> Array:
        for at, frame in enumerate(frames.reshape(-1, *shape[-3:])):
            into[at] = resize(frame)
        return result

    return each


def placed(rows: int, columns: int, height: int, width: int, fit: Fit, anchor: Anchor) -> tuple[slice, slice]:
    """Where in the result a frame of this size lies; the rest is padding."""
    if fit is Fit.STRETCH:
        return slice(0, height), slice(0, width)
    ratio = max(columns / width, rows / height)
    inner = (max(1, int(rows / ratio)), max(1, int(columns / ratio)))
    spare = (height - inner[0], width - inner[1])
    top, left = spare if anchor is Anchor.BOTTOM_RIGHT else (spare[0] // 2, spare[1] // 2)
    return slice(top, top + inner[0]), slice(left, left + inner[1])


def _taps(source: int, target: int) -> tuple[_Indices, _Indices, npt.NDArray[np.float32]]:
    """Two neighbours and the weight of the second, for each position of the target."""
    centres = (np.arange(target, dtype=np.float32) + np.float32(0.5)) * np.float32(source / target)
    centres = np.maximum(centres - np.float32(0.5), np.float32(0))
    first = np.minimum(centres.astype(np.intp), source - 1)
    second = np.minimum(first + 1, source - 1)
    return first, second, centres - first.astype(np.float32)
