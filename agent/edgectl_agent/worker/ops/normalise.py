"""Brings one observation into the form in which it enters the graph.

y = x * mul + add in float32, per channel for frames (which also go from HWC to CHW), per element otherwise.
What the graph does itself (`folded`), and what nobody processes, passes without a copy. Buffers are kept: a
result is valid until the next call.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.errors import StatisticsError
from edgectl_protos.domain.loop import Feature, FeatureKind, Processing

__all__ = ["normaliser", "scale_and_offset"]


def normaliser(
    feature: Feature, processing: Processing | None, arrays: dict[str, Array], spec: TensorSpec
) -> Callable[[Array], Array]:
    """What turns a raw observation of this feature into the graph input `spec`.

    Raises:
        StatisticsError: the release lacks the arrays of this feature, or they have another size.
    """
    batched = len(spec.shape) == len(feature.shape) + 1
    if processing is None or processing.folded:
        return _with_batch if batched else _as_it_is
    frame = feature.kind is FeatureKind.VISUAL
    size = feature.shape[-1] if frame else _count(feature.shape)
    mul, add = scale_and_offset("pre", feature.name, arrays, size)
    if frame:
        return _FrameNormaliser(feature.shape, mul, add)
    return _ElementNormaliser(feature.shape, mul, add, batched=batched)


def scale_and_offset(stage: str, name: str, arrays: dict[str, Array], size: int) -> tuple[Array, Array]:
    """`mul` and `add` of a feature as flat float32 arrays of this size.

    Raises:
        StatisticsError: one is missing or has another size; a normalisation is never skipped.
    """
    found = []
    for part in ("mul", "add"):
        key = f"{stage}.{name}.{part}"
        if key not in arrays:
            raise StatisticsError(
                f"the release has no {key}; it has: {', '.join(sorted(arrays)) or 'no arrays'}",
                hint="convert the checkpoint again: edgectl convert",
            )
        if arrays[key].size != size:
            raise StatisticsError(f"{key} has {arrays[key].size} values where {name} has {size}")
        found.append(np.ascontiguousarray(arrays[key], np.float32).reshape(-1))
    return found[0], found[1]


class _FrameNormaliser:
    def __init__(self, shape: tuple[int, ...], mul: Array, add: Array) -> None:
        height, width, channels = shape
        self._mul = mul[:, None, None]
        self._add = add[:, None, None]
        self._planes = np.empty((channels, height, width), np.uint8)
        self._result = np.empty((1, channels, height, width), np.float32)

    def __call__(self, frame: Array) -> Array:
        # Transposing bytes before they become floats moves a quarter of the memory.
        self._planes[...] = frame.transpose(2, 0, 1)
        np.multiply(self._planes, self._mul, out=self._result[0])
        self._result += self._add
        return self._result


class _ElementNormaliser:
    def __init__(self, shape: tuple[int, ...], mul: Array, add: Array, *, batched: bool) -> None:
        self._mul = mul.reshape(shape)
        self._add = add.reshape(shape)
        self._result = np.empty((1, *shape) if batched else shape, np.float32)

    def __call__(self, values: Array) -> Array:
        np.multiply(values, self._mul, out=self._result, casting="same_kind")
        self._result += self._add
        return self._result


def _with_batch(values: Array) -> Array:
    return values[None]


def _as_it_is(values: Array) -> Array:
    return values


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))
