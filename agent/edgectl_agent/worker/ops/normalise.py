"""Statistics on tensors: y = (x - offset) / scale [+ shift] before a component, y = x * scale + offset after it.

In this order, as LeRobot computes: a deviation or a range of nothing then gives what it gives there, not a difference
of two huge numbers. Buffers
are kept: a result is valid until the next call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import ProgramError, StatisticsError
from edgectl_protos.domain.program import Normalise, Unnormalise

__all__ = ["normaliser", "unnormaliser"]


def normaliser(
    step: Normalise, source: TensorSpec, target: TensorSpec, arrays: Mapping[str, Array]
) -> Callable[[Array], Array]:
    """What turns a tensor like `source` into one like `target`.

    Raises:
        StatisticsError: the release lacks the arrays, or they have another size.
        ProgramError: the shapes do not meet.
    """
    if step.planes:
        return _Planes(step, source, target, arrays)
    return _Elements(step, source, target, arrays)


class _Planes:
    """Frames [..., H, W, C] of bytes or floats to planes [(1,) ..., C, H, W] of floats."""

    def __init__(self, step: Normalise, source: TensorSpec, target: TensorSpec, arrays: Mapping[str, Array]) -> None:
        *lead, height, width, channels = source.shape
        planes = (*lead, channels, height, width)
        if target.shape not in (planes, (1, *planes)) or target.dtype is not DType.FLOAT32:
            raise _mismatch(step.id, source, target)
        offset, scale = _statistics(step.array, arrays, channels)
        _check_divisor(step.array, scale)
        self._offset = offset[:, None, None]
        # A division costs three times a multiplication, and a frame has a million of them.
        self._factor = (1 / scale).astype(np.float32)[:, None, None]
        self._order = (*range(len(lead)), len(lead) + 2, len(lead), len(lead) + 1)
        self._bytes: Array | None = np.empty(planes, np.uint8) if source.dtype.value == "uint8" else None
        self._result = np.empty(target.shape, np.float32)
        self._planes = self._result.reshape(planes)

    def __call__(self, frame: Array) -> Array:
        planes: Array = frame.transpose(self._order)
        if self._bytes is not None:
            # Transposing bytes before they become floats moves a quarter of the memory.
            self._bytes[...] = planes
            planes = self._bytes
        np.subtract(planes, self._offset, out=self._planes)
        self._planes *= self._factor
        return self._result


class _Elements:
    """Values [..., n] to [(1,) ..., m], m >= n, the rest 0."""

    def __init__(self, step: Normalise, source: TensorSpec, target: TensorSpec, arrays: Mapping[str, Array]) -> None:
        led = len(target.shape) == len(source.shape) + 1 and target.shape[0] == 1
        inner = target.shape[1:] if led else target.shape
        same = len(inner) == len(source.shape) and inner[:-1] == source.shape[:-1]
        if not same or (inner and inner[-1] < source.shape[-1]) or target.dtype is not DType.FLOAT32:
            raise _mismatch(step.id, source, target)
        self._offset, self._scale = _trailing(step.array, arrays, source.shape)
        _check_divisor(step.array, self._scale)
        key = f"{step.array}.shift"
        self._shift: Array | None = None
        if key in arrays:
            self._shift = _part(key, arrays, self._offset.size).reshape(self._offset.shape)
        self._result = np.zeros(target.shape, np.float32)
        self._values = self._result.reshape(inner)[..., : source.shape[-1]] if inner else self._result

    def __call__(self, values: Array) -> Array:
        np.subtract(values, self._offset, out=self._values, casting="same_kind")
        np.divide(self._values, self._scale, out=self._values)
        if self._shift is not None:
            np.add(self._values, self._shift, out=self._values)
        return self._result


def unnormaliser(
    step: Unnormalise, source: TensorSpec, target: TensorSpec, arrays: Mapping[str, Array]
) -> Callable[[Array], Array]:
    """What turns a tensor like `source` into one like `target`, which has the same number of elements.

    Raises:
        StatisticsError: the release lacks the arrays, or they have another size.
        ProgramError: the shapes do not meet.
    """
    shape = target.shape
    met = source.shape in (shape, (1, *shape)) or shape == (1, *source.shape)
    if not met or target.dtype is not DType.FLOAT32:
        raise _mismatch(step.id, source, target)
    offset, scale = _trailing(step.array, arrays, shape)
    result = np.empty(shape, np.float32)

    def unnormalise(values: Array) -> Array:
        np.multiply(values.reshape(shape), scale, out=result, casting="same_kind")
        np.add(result, offset, out=result)
        return result

    return unnormalise


def _trailing(name: str, arrays: Mapping[str, Array], shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Offset and scale, shaped like the last dimensions that have as many elements."""
    size = arrays[f"{name}.offset"].size if f"{name}.offset" in arrays else -1
    for axis in range(len(shape) + 1):
        if int(np.prod(shape[axis:], dtype=np.int64)) == size:
            offset, scale = _statistics(name, arrays, size)
            return offset.reshape(shape[axis:]), scale.reshape(shape[axis:])
    _statistics(name, arrays, int(np.prod(shape[-1:], dtype=np.int64)))
    raise StatisticsError(f"{name} has {size} values, which fit no dimensions of {list(shape)}")


def _statistics(name: str, arrays: Mapping[str, Array], size: int) -> tuple[Array, Array]:
    return _part(f"{name}.offset", arrays, size), _part(f"{name}.scale", arrays, size)


def _part(key: str, arrays: Mapping[str, Array], size: int) -> Array:
    if key not in arrays:
        raise StatisticsError(
            f"the release has no {key}; it has: {', '.join(sorted(arrays)) or 'no arrays'}",
            hint="convert the checkpoint again: edgectl convert",
        )
    if arrays[key].size != size:
        raise StatisticsError(f"{key} has {arrays[key].size} values where {size} are needed")
    if arrays[key].dtype.kind not in "fiub" or not np.isfinite(arrays[key]).all():
        raise StatisticsError(f"{key} holds values that are no finite numbers")
    return np.ascontiguousarray(arrays[key], np.float32).reshape(-1)


def _check_divisor(name: str, scale: Array) -> None:
    if not scale.all():
        raise StatisticsError(f"{name}.scale holds a 0, and is divided by")


def _mismatch(step: str, source: TensorSpec, target: TensorSpec) -> ProgramError:
    return ProgramError(f"step {step!r} cannot turn {list(source.shape)} into {list(target.shape)}")
