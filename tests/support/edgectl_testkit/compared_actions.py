"""Actions of an arm as its policy makes them, changed as a robot must not be moved, and what comparing them says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgectl_agent.worker.comparison import Expected, compare_actions
from edgectl_converters.targets.registry import target
from edgectl_protos.domain.parity import ParityFigure, Tolerance
from edgectl_protos.domain.policy import Dimension

__all__ = [
    "AT_FP32_AND_INT8",
    "DIM",
    "FP32",
    "GRIPPER",
    "INT8",
    "NAMES",
    "SWAPPED",
    "changed",
    "expected",
    "failures",
    "figure_of",
    "moved",
    "moves",
    "noise",
]

Array = npt.NDArray[Any]

FP32, INT8 = (target("onnxrt").tolerance(scheme) for scheme in ("fp32", "int8"))
AT_FP32_AND_INT8 = pytest.mark.parametrize("tolerance", [FP32, INT8], ids=["fp32", "int8"])
NAMES = ("pan", "lift", "elbow", "flex", "roll", "gripper")
DIM = len(NAMES)
GRIPPER = NAMES.index("gripper")
SWAPPED = "top and wrist exchanged"


def moves(*, cases: int = 8, chunk: int = 20, speed: float = 0.05, seed: int = 0) -> Array:
    """Slow movements: five joints in degrees, tens of them away from zero, and a gripper in metres."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (cases, 1, DIM)) + speed * np.arange(chunk)[:, None]
    found: Array = (np.sin(phase) * [40, 30, 20, 25, 60, 0.03] + [10, -60, 30, 45, 0, 0.04]).astype(np.float32)
    return found


def expected(
    actions: Array,
    *,
    use: int = 8,
    drawn: bool = False,
    dimensions: tuple[Dimension, ...] = (),
    **contrasts: Array,
) -> Expected:
    """These actions as the golden ones; a contrast is named by its words, with `_` for spaces."""
    named = dimensions or tuple(Dimension(NAMES[index]) for index in range(actions.shape[2]))
    words = {name.replace("_", " "): other for name, other in contrasts.items()}
    return Expected(actions, words, named, use, drawn)


def failures(found: Array, wanted: Expected, tolerance: Tolerance) -> list[ParityFigure]:
    """The figures that miss their limits."""
    figures, _ = compare_actions(found, wanted, tolerance)
    return [figure for figure in figures if not figure.passed]


def figure_of(
    found: Array, wanted: Expected, subject: str, statistic: str = "rmse", tolerance: Tolerance = FP32
) -> ParityFigure:
    """The one figure of this subject and statistic."""
    figures, _ = compare_actions(found, wanted, tolerance)
    (one,) = [figure for figure in figures if (figure.subject, figure.statistic) == (subject, statistic)]
    return one


def noise(actions: Array, part: float, *, seed: int = 5) -> Array:
    """As integer arithmetic makes it: independent errors, of this part of each dimension's deviation."""
    drawn = np.random.default_rng(seed).standard_normal(actions.shape)
    found: Array = (part * actions.std(axis=(0, 1)) * drawn).astype(np.float32)
    return found


def changed(actions: Array, index: int, change: Callable[[Array], Any]) -> Array:
    """The actions, with one dimension changed."""
    found = actions.copy()
    found[..., index] = change(found[..., index])
    return found


def moved(actions: Array, part: float = 0.05) -> Array:
    """What the policy does for another observation, not very different: of this part of each deviation."""
    found: Array = actions + noise(actions, part, seed=11)
    return found
