"""What every target does: write one component, in the hub form, as one runtime's artifact. It never judges what it
wrote: the gate does, in the device's own worker.

`build` runs in a process of the target's toolchain: heavy libraries are imported inside the methods.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from edgectl_converters.targets.sensitivity import KEEP_VARIANTS, is_keep
from edgectl_protos.domain.artifact import TensorSpec, precision_of, weight_bits
from edgectl_protos.domain.bundle import BuildRecipe, GateResult
from edgectl_protos.domain.parity import Tolerance

__all__ = ["BuildRequest", "Built", "RankRequest", "Ranking", "Target"]


def _error_at(cosine: float) -> float:
    """The error of a tensor in parts of its deviation at which its cosine is this one: `‖a-b‖² = 2 (1 - cos) ‖a‖²` of
    vectors of one length, and a deviation is never more than the root mean square.
    """
    return math.sqrt(2 * (1 - cosine))


_TOLERANCES = {
    "fp32": Tolerance(rmse=5e-3, worst=2.5e-2, inner=_error_at(0.99999), unequal=0.0),
    "fp16": Tolerance(rmse=2e-2, worst=0.1, inner=_error_at(0.9999), unequal=5e-3),
    "bf16": Tolerance(rmse=5e-2, worst=0.25, inner=_error_at(0.999), unequal=1e-2),
}
_INT8 = Tolerance(rmse=0.10, worst=0.5, inner=_error_at(0.999), unequal=2e-2)
_INT4 = replace(_INT8, inner=_error_at(0.99))
"""In parts of each dimension's scale. fp32 differs by 1e-6 between runtimes and bf16 by about 1e-2; a dimension that is
scaled by 2 % must not pass at fp32, nor one by 15 % at int8."""


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What is built, into the folder `out`: all that is written there belongs to the component.

    `graph` is the component's file in the form `form`, one of those that the target reads. `calibration` is an .npz of
    what enters the component, `<port>` with the call first; empty where the scheme needs none. `ranking` are layers,
    the most sensitive first, where the variant needs it. `options` are what the board says of those that it reads.
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
    ranking: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RankRequest:
    """Which layers of a component are the most sensitive to its scheme; `build` is of a variant that needs to know."""

    build: BuildRequest


@dataclass(frozen=True, slots=True)
class Ranking:
    """Layers by the target's own names, the most sensitive first."""

    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Built:
    """An artifact. `entry` is what the runtime opens, a path in the folder, empty for the folder itself. `options` go
    to the device's runtime, `settings` are for provenance, `states` are those that the runtime keeps by itself.
    `gates` are what was read back from it: operators on the delegate, tensors loaded, precisions of weights.
    """

    entry: str
    options: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    recipe: BuildRecipe | None = None
    gates: tuple[GateResult, ...] = ()


class Target(abc.ABC):
    """One runtime, of the same name as on the device."""

    name: ClassVar[str]
    toolchain: ClassVar[str] = "host"
    home: ClassVar[str] = "host"
    """The toolchain whose interpreter holds its runtime, where the agent's own cannot."""
    reads: ClassVar[tuple[str, ...]]
    """Forms of a component that it takes, in order of preference: onnx, pt2 …"""
    schemes: ClassVar[tuple[str, ...]]
    searched: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """The schemes that are calibrated and built in several ways: these, and then with the most sensitive layers kept as
    they are."""
    reads_options: ClassVar[tuple[str, ...]] = ()
    """What it has to know of the board, by the names in its profile: another value is another artifact."""
    takes_bytes: ClassVar[bool] = True
    """Whether a graph may take frames as the camera gives them, uint8 [1, H, W, C]."""
    oracle: ClassVar[Mapping[str, str] | None] = None
    """Options with which its runtime computes a graph as it was exported; None: it is no oracle for other runtimes."""
    packages: ClassVar[tuple[str, ...]]
    """Distributions that `build` imports: their versions key the cache, and one that is missing is an error."""

    def form_of(self, forms: Collection[str]) -> str:
        """The form that it takes of these; empty if none."""
        return next((form for form in self.reads if form in forms), "")

    def variants(self, scheme: str) -> tuple[str, ...]:
        """Ways to build this scheme, the fastest artifact first; the first that passes its gate is taken."""
        return (*self.searched[scheme], *KEEP_VARIANTS) if scheme in self.searched else ("default",)

    def needs_calibration(self, scheme: str) -> bool:
        """Whether the build looks at what enters the component, for ranges or to rank layers by."""
        return scheme in self.searched

    def needs_ranking(self, variant: str) -> bool:
        """Whether the build of this variant keeps the most sensitive layers as they are."""
        return is_keep(variant)

    def rank(self, request: BuildRequest, progress: Callable[[str], None]) -> Ranking:
        """Measure which layers are the most sensitive; asked once for all variants that need it."""
        raise NotImplementedError(f"{self.name} has no variant that needs a ranking")

    def tolerance(self, scheme: str) -> Tolerance:
        """What the policy's actions may differ by from the golden ones."""
        bits = weight_bits(scheme)
        if 0 < bits <= 8:
            return _INT4 if bits <= 4 else _INT8
        return _TOLERANCES.get("fp16" if bits == 16 else precision_of(scheme), _INT8)

    @abc.abstractmethod
    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Write the artifact.

        Raises:
            OperatorError: the runtime does not know an operator of the graph.
        """
