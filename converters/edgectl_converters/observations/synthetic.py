"""Synthetic observations by what they mean: scenes for cameras, values around the statistics, else N(0, 1).

A scene has what real ones have, and white or smooth noise has not: surfaces with edges, shading, texture, and exposures
from dim to clipped, so that every range that a camera fills is filled. Frames of a history are one scene, moved.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.policy import Feature, FeatureKind

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]

__all__ = ["Range", "Spread", "frame_layout", "is_frame", "synthesise"]

Spread = tuple[tuple[float, ...], tuple[float, ...]]
"""Offset and scale of a feature's elements: x = z * scale + offset for z ~ N(0, 1)."""

Range = tuple[float, float]
"""The values of a black and of a white pixel."""

_FLOATS = (DType.FLOAT16, DType.FLOAT32, DType.FLOAT64)
_MIN_SIZE = 8
"""Pixels; what is smaller is more likely a matrix than a frame."""
_UNKNOWN: Range = (0.0, 1.0)
_FULL = {DType.UINT8: (0.0, 255.0), DType.UINT16: (0.0, 65_535.0)}


def frame_layout(feature: Feature) -> str:
    """`HWC` or `CHW` where the last three dimensions are a frame's; empty where the feature is no frame."""
    shape = feature.shape[-3:]
    if feature.kind is FeatureKind.VISUAL:
        return "HWC"
    if feature.kind is not FeatureKind.TENSOR or feature.dtype not in (*_FLOATS, *_FULL) or len(shape) < 3:
        return ""
    for layout, channels, size in (("HWC", shape[2], shape[:2]), ("CHW", shape[0], shape[1:])):
        if channels in (1, 3, 4) and min(size) >= _MIN_SIZE:
            return layout
    return ""


def is_frame(feature: Feature) -> bool:
    """Whether the feature holds frames."""
    return bool(frame_layout(feature))


def synthesise(
    feature: Feature,
    spread: Spread | None,
    limits: Range | None,
    count: int,
    history: int,
    rng: np.random.Generator,
) -> Array:
    """`[count, history, *shape]` in the feature's own dtype; frames lie in `limits`, else in the dtype's or in 0..1."""
    import numpy as np

    shape = (count, history, *feature.shape)
    layout = frame_layout(feature)
    if layout:
        low, high = limits or _FULL.get(feature.dtype, _UNKNOWN)
        frames = _frames(feature.shape, layout, count, history, rng) * (high - low) + low
        whole = feature.dtype in _FULL
        return (np.rint(frames) if whole else frames).reshape(shape).astype(feature.dtype.value)
    # One of another size is golden data's that do not fit; the export says so.
    known = spread is not None and len(spread[0]) == len(spread[1]) == math.prod(feature.shape)
    if feature.dtype not in _FLOATS:
        if spread is not None and known and not any(spread[1]):
            constant = np.rint(np.array(spread[0], np.float64)).reshape(feature.shape)
            return np.ascontiguousarray(np.broadcast_to(constant, shape).astype(feature.dtype.value))
        # Integers of a bare graph are mostly indices, of which 0 and 1 are always valid.
        return rng.integers(0, 2, shape).astype(feature.dtype.value)
    moment = rng.normal(0.0, 1.0, (count, 1, *feature.shape))
    values = moment + 0.1 * rng.normal(0.0, 1.0, shape) * (history > 1)
    if spread is not None and known:
        offset, scale = (np.array(part, np.float64).reshape(feature.shape) for part in spread)
        values = values * scale + offset
    return np.ascontiguousarray(values.astype(feature.dtype.value))


def _frames(shape: tuple[int, ...], layout: str, count: int, history: int, rng: np.random.Generator) -> Array:
    import numpy as np

    *lead, one, two, three = shape
    height, width, channels = (one, two, three) if layout == "HWC" else (two, three, one)
    found = np.empty((count, history, *shape), np.float32)
    for case in found:
        for place in np.ndindex(*lead):
            scene = _scene(height, width, channels, rng)
            step = rng.integers(-4, 5, 2)
            for at in range(history):
                moved = np.roll(scene, tuple(step * at), (0, 1))
                case[(at, *place)] = moved if layout == "HWC" else moved.transpose(2, 0, 1)
    return found


def _scene(height: int, width: int, channels: int, rng: np.random.Generator) -> Array:
    """Pixels [height, width, channels] in 0..1."""
    import numpy as np

    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)

    def shading() -> Array:
        angle = rng.uniform(0, 2 * np.pi)
        slope = (np.cos(angle) * (rows - 0.5) + np.sin(angle) * (columns - 0.5))[..., None]
        colour = rng.uniform(0, 0.6) + rng.uniform(0, 0.4, channels)
        return np.asarray(colour + slope * rng.uniform(-0.8, 0.8, channels), np.float32)

    scene = shading()
    for _ in range(rng.integers(5, 10)):
        y, x, tall, wide = *rng.uniform(0, 1, 2), *rng.uniform(0.05, 0.4, 2)
        angle = rng.uniform(0, np.pi)
        down = ((rows - y) * np.cos(angle) + (columns - x) * np.sin(angle)) / tall
        across = ((columns - x) * np.cos(angle) - (rows - y) * np.sin(angle)) / wide
        inside = down**2 + across**2 < 1 if rng.random() < 0.5 else np.maximum(abs(down), abs(across)) < 1
        surface = shading()
        if rng.random() < 0.4:
            # Stripes: texture with edges of its own.
            surface = surface + 0.3 * np.sign(np.sin(across * rng.uniform(5, 40)))[..., None]
        scene = np.where(inside[..., None], surface, scene)
    grain = rng.normal(0, 1, (-(-height // 4), -(-width // 4), 1)).repeat(4, 0).repeat(4, 1)[:height, :width]
    scene = np.clip(scene + 0.05 * grain, 0, 1)
    exposed = rng.lognormal(0, 0.5) * scene ** rng.uniform(0.6, 1.6) + rng.uniform(-0.1, 0.1)
    return np.asarray(np.clip(exposed + rng.normal(0, 0.01, scene.shape), 0, 1), np.float32)
