"""Compares what a policy did with what it should have done. Pure: arrays in, figures out.

The action is judged a dimension at a time: the error's rms and its largest value against the dimension's scale. The
scale is the standard deviation of what is expected, over cases and steps of the chunk; of a policy that draws noise,
which makes most of a chunk, the effect of the observation where that is smaller. A dimension that never moves is judged
by its size. What float32 cannot tell apart is no error: `8 ε` of the largest value, and 1e-7.

A contrast is what the policy does for another observation. The share of a contrast is the part of the way towards it
that an error covers, the projection `⟨found - expected, contrast - expected⟩ / ‖contrast - expected‖²`, dimensions in
units of their deviation: 0 for noise of any size, 1 where that observation was taken for the right one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_protos.domain.errors import NonFiniteError, ShapeError
from edgectl_protos.domain.parity import DimensionFigure, ParityFigure, Tolerance
from edgectl_protos.domain.policy import Dimension, Policy

__all__ = ["ANOTHER_OBSERVATION", "Expected", "compare_actions", "compare_tensor", "dimensions_of"]

ANOTHER_OBSERVATION = "another observation"
"""The contrast in which everything observed is that of another case."""

_SHARE_LIMIT = 0.5
"""Nearer to the contrast than to what is expected."""
_UNCERTAIN = 0.25
"""A share whose standard error over the cases is larger says nothing: the error goes elsewhere."""
_FLOOR = 1e-7
_EPSILONS = 8 * float(np.finfo(np.float32).eps)
_INFINITE = 1e100
_STILL = 1e-6
"""A dimension whose deviation is less than this part of its size does not move."""
_FEW, _FEW_CASES = 8, 3
_MOST_DIMENSIONS = 64


@dataclass(frozen=True, slots=True)
class Expected:
    """The golden actions [case, chunk, dimension], those of each contrast (of the first cases, maybe), and how many
    of a chunk are executed. `drawn`: the policy draws noise. `text`: what is done is a text of token ids.
    """

    actions: Array
    contrasts: Mapping[str, Array]
    dimensions: tuple[Dimension, ...]
    use: int
    drawn: bool
    text: bool = False


def dimensions_of(policy: Policy, count: int) -> tuple[Dimension, ...]:
    """The dimensions of an action of this many values, numbered where nobody named them."""
    return policy.dimensions or tuple(Dimension(f"{policy.action.name}[{index}]") for index in range(count))


def compare_actions(
    found: Array, expected: Expected, tolerance: Tolerance
) -> tuple[tuple[ParityFigure, ...], tuple[DimensionFigure, ...]]:
    """Figures of the actions, and the executed ones a dimension at a time.

    Raises:
        NonFiniteError: a value, found or expected, is NaN or infinite.
        ShapeError: the shapes differ, also of a contrast.
    """
    actions = expected.actions
    if found.size != actions.size or len(found) != len(actions):
        raise ShapeError(f"the action is {list(found.shape)} here, {list(actions.shape)} in the golden cases")
    found = found.reshape(actions.shape)
    if expected.text:
        return (_compare_text(found, actions, tolerance),), ()
    if actions.dtype.kind in "iub":
        unequal = float(np.mean(found != actions))
        return (ParityFigure("action", "unequal", unequal, tolerance.unequal),), ()
    here, there = _finite(found, "of the action", "here"), _finite(actions, "of the action", "in the golden cases")
    contrasts = {name: _contrast(name, rows, there) for name, rows in expected.contrasts.items()}
    judge = _Judge(there, expected, contrasts.get(ANOTHER_OBSERVATION))
    figures: list[ParityFigure] = []
    for part, steps in (("executed", slice(0, expected.use)), ("rest of the chunk", slice(expected.use, None))):
        if there[:, steps].size:
            figures += judge.figures(part, here[:, steps], there[:, steps], tolerance)
    for name, other in contrasts.items():
        count = len(other)
        figures += judge.share(f"taken for {name}", here[:count], there[:count], other)
    if there.shape[1] > 2:
        inner = slice(1, -1)
        for late, words in ((slice(2, None), "early"), (slice(0, -2), "late")):
            figures += judge.share(f"a step too {words}", here[:, inner], there[:, inner], there[:, late])
    executed = slice(0, expected.use)
    return tuple(figures), judge.dimensions(here[:, executed], there[:, executed])


def compare_tensor(
    subject: str, found: Array, expected: Array, limit: float, *, unequal: float = 0.0, at: str = ""
) -> ParityFigure:
    """A tensor inside the program: rmse in parts of its deviation, or the share of other integers.

    Raises:
        NonFiniteError: a value is NaN or infinite on one side only.
        ShapeError: the sizes differ.
    """
    if found.size != expected.size:
        raise ShapeError(f"{at or subject} is {list(found.shape)} here, {list(expected.shape)} in the golden cases")
    if expected.dtype.kind in "iubU":
        other = float(np.mean(found.ravel() != expected.ravel())) if expected.size else 0.0
        return ParityFigure(subject, "unequal", other, unequal, at)
    found = found.reshape(expected.shape)
    # A mask of minus infinity, or a depth that was not seen, is equal where both have it.
    same = ~np.isfinite(expected) & ((found == expected) | (np.isnan(found) & np.isnan(expected)))
    here = _finite(np.where(same, 0, found), f"of {at or subject}", "here")
    there = _finite(np.where(same, 0, expected), f"of {at or subject}", "in the golden cases")
    size = float(np.abs(there).max(initial=0.0))
    deviation = float(there.std()) if there.size else 0.0
    floor = _EPSILONS * size + _FLOOR
    scale = max(deviation if deviation > _STILL * size else size, floor) if size else 1.0
    rmse = float(np.sqrt(np.mean((here - there) ** 2))) if there.size else 0.0
    return ParityFigure(subject, "rmse", rmse / scale, limit + floor / scale, at)


def _compare_text(found: Array, expected: Array, tolerance: Tolerance) -> ParityFigure:
    """The share of tokens from the first wrong one of its text on: what follows it answers another text.

    Those that are expected to be negative are not judged: the reference itself can hardly tell two tokens apart there.
    A tolerance of all of them is none: the share is shown, and not judged.
    """
    there = expected.reshape(len(expected), -1)
    wrong = (found.reshape(there.shape) != there) & (there >= 0)
    judged = (there >= 0).sum(axis=1)
    right = np.where(wrong.any(axis=1), wrong.argmax(axis=1), judged)
    lost = judged - right
    case = int(lost.argmax())
    at = f"case {case + 1} from token {right[case] + 1}" if lost.any() else ""
    limit = None if tolerance.unequal >= 1.0 else tolerance.unequal
    return ParityFigure("text", "after a wrong token", float(lost.sum() / max(1, judged.sum())), limit, at)


class _Judge:
    """The scales of the dimensions, and those that have classes."""

    def __init__(self, there: Array, expected: Expected, other: Array | None) -> None:
        size = np.abs(there).max(axis=(0, 1))
        self._deviation = there.std(axis=(0, 1))
        self._floor = _EPSILONS * size + _FLOOR
        self._moves = self._deviation > np.maximum(_STILL * size, self._floor)
        scale = np.where(self._deviation > _STILL * size, self._deviation, size)
        self._effect: Array | None = None
        if other is not None:
            moved = other - there[: len(other)]
            # Of two independent observations the difference has twice the variance.
            self._effect = np.sqrt(np.mean(moved**2, axis=(0, 1)) / 2)
            if expected.drawn:
                scale = np.where(self._effect > self._floor, np.minimum(scale, self._effect), scale)
        self._scale = np.where(scale > 0, np.maximum(scale, self._floor), 1.0)
        self._names = expected.dimensions
        self._class_at = _classes(there, expected.dimensions, self._floor)
        self._graded = np.isnan(self._class_at)

    def figures(self, part: str, here: Array, there: Array, tolerance: Tolerance) -> list[ParityFigure]:
        """The worst dimension by each statistic."""
        found = []
        if self._graded.any():
            error = np.abs(here - there)
            rmse = np.sqrt(np.mean(error**2, axis=(0, 1)))
            for name, values, allowed in (
                ("rmse", rmse, tolerance.rmse),
                ("worst", error.max(axis=(0, 1)), tolerance.worst),
            ):
                parts, limits = values / self._scale, allowed + self._floor / self._scale
                worst = int(np.where(self._graded, parts / limits, -1.0).argmax())
                found.append(self._figure(part, name, parts, limits, worst))
        if not self._graded.all():
            shares = self._unequal(here, there)
            limits = np.full_like(shares, tolerance.unequal)
            worst = int(np.where(self._graded, -1.0, shares).argmax())
            found.append(self._figure(part, "unequal", shares, limits, worst))
        return found

    def _figure(self, part: str, name: str, values: Array, limits: Array, index: int) -> ParityFigure:
        return ParityFigure(part, name, float(values[index]), float(limits[index]), self._names[index].name)

    def share(self, subject: str, here: Array, there: Array, other: Array) -> list[ParityFigure]:
        """How much of the way to the contrast the error covers; nothing where the cases do not agree how much."""
        # In units of its deviation what a still dimension does would drown all others.
        deviation = self._deviation[self._moves]
        error = (here - there)[..., self._moves] / deviation
        way = (other - there)[..., self._moves] / deviation
        lengths = np.sum(way**2, axis=(1, 2))
        length, cases = float(lengths.sum()), len(lengths)
        if cases < 2 or not length > _STILL**2 * way.size:
            return []
        covered = np.sum(error * way, axis=(1, 2))
        share = float(covered.sum()) / length
        # Of a ratio of sums over cases: Cochran, Sampling Techniques, 3rd edition, §6.4.
        uncertainty = math.sqrt(cases / (cases - 1) * float(np.sum((covered - share * lengths) ** 2))) / length
        return [] if uncertainty > _UNCERTAIN else [ParityFigure(subject, "share", share, _SHARE_LIMIT)]

    def dimensions(self, here: Array, there: Array) -> tuple[DimensionFigure, ...]:
        """Of each dimension; of an output of very many those with the largest errors, in their order."""
        error = here - there
        rmse = np.sqrt(np.mean(error**2, axis=(0, 1)))
        unequal = self._unequal(here, there)
        worst = np.argsort(-np.where(self._graded, rmse / self._scale, unequal), kind="stable")[:_MOST_DIMENSIONS]
        return tuple(
            DimensionFigure(
                name=self._names[index].name,
                rmse=float(rmse[index]),
                worst=float(np.abs(error[..., index]).max()),
                scale=float(self._scale[index]),
                deviation=float(self._deviation[index]),
                effect=None if self._effect is None else float(self._effect[index]),
                correlation=_correlation(here[..., index], there[..., index]),
                unequal=None if self._graded[index] else float(unequal[index]),
            )
            for index in sorted(worst)
        )

    def _unequal(self, here: Array, there: Array) -> Array:
        """The share of values in the wrong class, 0 where there are no classes."""
        found: Array = np.mean((here >= self._class_at) != (there >= self._class_at), axis=(0, 1))
        return found


def _classes(values: Array, dimensions: tuple[Dimension, ...], floor: Array) -> Array:
    """Where the two classes of a dimension meet: as it says, or half way where it has two values only; else NaN.

    Two cases of chunks that stand still have two values of any dimension.
    """
    named = np.array([np.nan if one.at is None else one.at for one in dimensions])
    if len(values) < _FEW_CASES or values.shape[0] * values.shape[1] < _FEW:
        return named
    low, high = values.min(axis=(0, 1)), values.max(axis=(0, 1))
    two = (high - low > floor) & np.all((values == low) | (values == high), axis=(0, 1))
    return np.where(np.isnan(named) & two, (low + high) / 2, named)


def _correlation(here: Array, there: Array) -> float | None:
    found, wanted = here.ravel() - here.mean(), there.ravel() - there.mean()
    norms = float(np.linalg.norm(found) * np.linalg.norm(wanted))
    return min(1.0, float(found @ wanted) / norms) if norms else None


def _contrast(name: str, rows: Array, there: Array) -> Array:
    wanted = there[: len(rows)]
    if rows.size != wanted.size:
        raise ShapeError(
            f"the action for {name} is {list(rows.shape)} in the trace, {list(there.shape)} in the golden cases"
        )
    return _finite(rows.reshape(wanted.shape), f"of the action for {name}", "in the trace")


def _finite(values: Array, of: str, where: str) -> Array:
    found = values.astype(np.float64)
    # Comparisons with NaN are false; what is larger cannot be squared.
    if bad := int((~(np.abs(found) < _INFINITE)).sum()):
        raise NonFiniteError(f"{bad} of {found.size} values {of} are not finite {where}")
    return found
