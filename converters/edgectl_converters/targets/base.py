"""What every target does: write one component, in the hub form, as one runtime's artifact. It never runs what it wrote:
the gate does, in the device's own worker.

`build` runs in a process of the target's toolchain: heavy libraries are imported inside the methods.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from edgectl_protos.domain.artifact import TensorSpec, precision_of
from edgectl_protos.domain.bundle import BuildRecipe, Tolerance

__all__ = ["BuildRequest", "Built", "Target"]

_TOLERANCES = {"fp32": Tolerance(1e-4, 0.99999), "fp16": Tolerance(0.05, 0.999), "bf16": Tolerance(0.05, 0.999)}
_INTEGER = Tolerance(0.10, 0.99)
"""What these precisions were measured to do on policies: fp32 differs by 1e-6 between runtimes, bf16 by about 1e-2,
int8 by a few 1e-2, while a broken conversion is off by 0.5 and more (cosines near 0)."""


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What is built, into the folder `out`: all that is written there belongs to the component.

    `graph` is the component's file in the form `form`. `calibration` is an .npz of what enters the component, `<port>`
    with the call first; empty where the scheme needs none.
    """

    runtime: str
    component: str
    form: str
    graph: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    scheme: str
    variant: str
    calibration: str
    out: str


@dataclass(frozen=True, slots=True)
class Built:
    """An artifact. `entry` is what the runtime opens, a path in the folder, empty for the folder itself. `options` go
    to the device's runtime, `settings` are for provenance, `states` are those that the runtime keeps by itself.
    """

    entry: str
    options: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    recipe: BuildRecipe | None = None


class Target(abc.ABC):
    """One runtime, of the same name as on the device."""

    name: ClassVar[str]
    toolchain: ClassVar[str] = "host"
    reads: ClassVar[tuple[str, ...]]
    """Forms of a component that it takes: onnx, pt2."""
    schemes: ClassVar[tuple[str, ...]]
    takes_bytes: ClassVar[bool] = True
    """Whether a graph may take frames as the camera gives them, uint8 [1, H, W, C]."""
    packages: ClassVar[tuple[str, ...]]
    """Distributions that `build` imports: their versions key the cache, and one that is missing is an error."""

    def variants(self, scheme: str) -> tuple[str, ...]:
        """Ways to build this scheme, the fastest artifact first; the first that passes its gate is taken."""
        return ("default",)

    def needs_calibration(self, scheme: str) -> bool:
        """Whether the build looks at what enters the component."""
        return False

    def tolerance(self, scheme: str) -> Tolerance:
        """What the policy's actions may differ by from the golden ones."""
        return _TOLERANCES.get(precision_of(scheme), _INTEGER)

    @abc.abstractmethod
    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Write the artifact.

        Raises:
            OperatorError: the runtime does not know an operator of the graph.
        """
