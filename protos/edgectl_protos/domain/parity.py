"""Parity: whether the numbers are still right, what was compared, and how far it may differ.

Actions are judged a dimension at a time, in the robot's units, against the dimension's own scale: a gripper in metres
is not hidden by joints in degrees. Definitions: docs/conversion.md.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DimensionFigure", "ParityFigure", "ParityReport", "Tolerance"]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What computing in a scheme may change.

    `rmse` and `worst` (the largest error) of each dimension of the action, in parts of its scale; `inner`: rmse of a
    tensor inside the program in parts of its deviation; `unequal`: share of integers and of classes that differ.
    """

    rmse: float
    worst: float
    inner: float
    unequal: float

    def loosest(self, other: Tolerance) -> Tolerance:
        """What is allowed where both were at work."""
        return Tolerance(
            max(self.rmse, other.rmse),
            max(self.worst, other.worst),
            max(self.inner, other.inner),
            max(self.unequal, other.unequal),
        )


@dataclass(frozen=True, slots=True)
class ParityFigure:
    """One statistic of one subject against its limit; None: not judged, shown only. `at` is where it is worst."""

    subject: str
    statistic: str
    value: float
    limit: float | None
    at: str = ""

    @property
    def passed(self) -> bool:
        """Whether it is within its limit; a value that is no number never is."""
        return self.limit is None or self.value <= self.limit

    def __str__(self) -> str:
        where = f" in {self.at}" if self.at else ""
        limit = "" if self.limit is None else f" (limit {self.limit:.2g})"
        return f"{self.subject}: {self.statistic} {self.value:.2g}{where}{limit}"


@dataclass(frozen=True, slots=True)
class DimensionFigure:
    """One dimension of the executed actions, in the robot's units.

    `deviation` is the standard deviation of what is expected; `effect` how far the dimension moves when the observation
    is another one at equal noise (rms of the difference, over √2); None where it could not be measured. `scale` is
    what errors are judged by. `unequal`: share of wrong classes, of a dimension that has classes.
    """

    name: str
    rmse: float
    worst: float
    scale: float
    deviation: float
    effect: float | None = None
    correlation: float | None = None
    unequal: float | None = None


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What was compared over the golden cases: every figure is within its limit, or parity failed."""

    cases: int
    figures: tuple[ParityFigure, ...]
    dimensions: tuple[DimensionFigure, ...] = ()

    @property
    def failures(self) -> tuple[ParityFigure, ...]:
        """The figures that are outside their limit."""
        return tuple(figure for figure in self.figures if not figure.passed)

    @property
    def worst(self) -> DimensionFigure | None:
        """The dimension with the largest error for its scale."""
        return max(self.dimensions, key=lambda one: one.rmse / one.scale if one.scale else 0.0, default=None)
