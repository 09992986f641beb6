"""Which layers of a component lose most in int8, by measurement, and how many of them a variant keeps in fp32.

Each layer goes into int8 alone while the rest stays fp32, on calls that the calibration has not seen. The number of
trials is bounded: in a component of more layers, neighbours are tried together. It is a number and no time, so that
equal conversions give equal bytes; a trial costs one load and `HELD_CALLS` inferences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

    Outputs = Sequence[Mapping[str, npt.NDArray[Any]]]

__all__ = ["KEEP_VARIANTS", "damage", "held_out", "is_keep", "kept", "kept_settings", "rank_layers"]

TRIALS = 48
HELD_CALLS = 6

_KEEP = "keep-"
KEEP_VARIANTS = tuple(f"{_KEEP}{percent}" for percent in (5, 10, 20, 30))
"""Variants that keep this share of the layers, in per cent, the most sensitive first."""


def is_keep(variant: str) -> bool:
    """Whether a variant keeps layers in fp32 by their rank."""
    return variant.startswith(_KEEP)


def kept(variant: str, ranking: Sequence[str]) -> tuple[str, ...]:
    """The layers that this variant keeps in fp32: one at least, but never more than half."""
    if not is_keep(variant):
        return ()
    share = math.ceil(int(variant.removeprefix(_KEEP)) / 100 * len(ranking))
    return tuple(ranking[: min(share, len(ranking) // 2)])


def kept_settings(left: Collection[str], layers: Collection[str]) -> dict[str, str]:
    """What provenance says about the layers that were kept."""
    return {"kept_in_fp32": f"{len(left)} of {len(layers)} layers: {', '.join(left)}"} if left else {}


def held_out(calls: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Calls to calibrate with, and calls to measure with, evenly spread; one call alone is both."""
    step = max(2, math.ceil(len(calls) / HELD_CALLS))
    held = list(calls[::step])
    rest = [call for index, call in enumerate(calls) if index % step]
    return rest or held, held


def rank_layers(
    layers: Sequence[str],
    exact: Outputs,
    outputs_with: Callable[[Sequence[str]], Outputs | None],
    progress: Callable[[str], None],
) -> tuple[str, ...]:
    """Layers, the most sensitive first. `exact` are the outputs in fp32, `outputs_with` those with these in int8; None:
    the runtime does not run such a graph, so these are the first to be kept.
    """
    size = math.ceil(len(layers) / TRIALS) or 1
    blocks = [layers[start : start + size] for start in range(0, len(layers), size)]
    found = []
    for index, block in enumerate(blocks):
        progress(f"measuring what rounding costs: {index + 1} of {len(blocks)}, {block[0]}")
        outputs = outputs_with(block)
        found.append((math.inf if outputs is None else damage(outputs, exact), block))
    # Sorting is stable: layers that lose the same stay in their order.
    return tuple(name for _, block in sorted(found, key=lambda one: -one[0]) for name in block)


def damage(found: Outputs, exact: Outputs) -> float:
    """Mean square error over the variance, of each feature of each floating output (its last axis), averaged.

    A feature that hardly varies counts by the variance of its whole output.
    """
    import numpy as np

    total, counted = 0.0, 0
    for name in exact[0]:
        there = np.stack([call[name] for call in exact])
        if there.dtype.kind != "f" or not there.size:
            continue
        here = np.stack([call[name] for call in found]).astype(np.float64)
        features = there.shape[-1] if there.ndim > 1 else 1
        error = (here - there).reshape(-1, features)
        values = there.astype(np.float64).reshape(-1, features)
        variance = np.maximum(values.var(axis=0), 1e-6 * values.var())
        if (variance > 0).all():
            total += float(((error**2).mean(axis=0) / variance).mean())
            counted += 1
    return total / counted if counted else 0.0
