"""What every target does: turn the folded ONNX graph into one runtime's artifact, and run it here for the gates."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from edgectl_protos.domain.artifact import Precision

__all__ = ["Built", "Evaluation", "Inputs", "Target"]

Inputs = list[dict[str, Any]]
"""One dict of numpy arrays a case, by name of the graph input or output."""


@dataclass(frozen=True, slots=True)
class Built:
    """An artifact in the output folder. `options` go to the device's runtime; `settings` are for provenance."""

    artifact: str
    options: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Outputs of each case, and the precision that the runtime really used."""

    outputs: Inputs
    precision: Precision


class Target(abc.ABC):
    """One runtime. Heavy libraries are imported inside the methods, which run in a toolchain process."""

    name: ClassVar[str]
    precisions: ClassVar[tuple[Precision, ...]]
    packages: ClassVar[tuple[str, ...]]
    """Distributions whose versions decide what is built: they key the cache."""

    def variants(self, precision: Precision) -> tuple[str, ...]:
        """Ways to build this precision, the fastest artifact first; the first that passes its gate is taken."""
        return ("default",)

    @abc.abstractmethod
    def build(
        self,
        graph: Path,
        out: Path,
        precision: Precision,
        variant: str,
        calibration: Inputs,
        progress: Callable[[str], None],
    ) -> Built:
        """Write the artifact.

        Raises:
            OperatorError: the runtime does not know an operator of the graph.
            PrecisionError: it has no kernels for this precision here.
        """

    @abc.abstractmethod
    def evaluate(self, artifact: Path, options: dict[str, str], inputs: Inputs) -> Evaluation:
        """Run the artifact on this machine."""
