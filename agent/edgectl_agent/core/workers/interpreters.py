"""Which Python a release is loaded in. A release may need runtimes of several; its worker runs in one of them.

The worker's own is the one whose components an inference calls most often: a call into another interpreter costs a
frame each way.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.policy import Call, Generate, Program, flat_steps

__all__ = ["Interpreters", "Seat", "calls_of"]


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a release is loaded: the worker's Python, and those of the runtimes that it does not hold."""

    python: str
    others: dict[str, str]


@dataclass(frozen=True, slots=True)
class Interpreters:
    """`default`, unless `by_runtime` names another one."""

    default: str
    by_runtime: Mapping[str, str]

    def of(self, runtime: str) -> str:
        """The Python that holds a runtime."""
        return self.by_runtime.get(runtime, self.default)

    def seat(self, manifest: Manifest) -> Seat:
        """Where a release is loaded. Of two that are called equally often, the one that is called first."""
        calls = calls_of(manifest.program)
        pythons = {component.name: self.of(component.runtime) for component in manifest.components}
        wanted: Counter[str] = Counter()
        for name, count in calls.items():
            wanted[pythons[name]] += count
        python = max(wanted, key=wanted.__getitem__, default=self.default)
        return Seat(
            python,
            {c.runtime: pythons[c.name] for c in manifest.components if pythons[c.name] != python},
        )


def calls_of(program: Program) -> dict[str, int]:
    """How often one inference calls each component, in the order of their first use; a generated token is a call."""
    calls: dict[str, int] = {}
    for step, passes in flat_steps(program.steps):
        if isinstance(step, Generate):
            spec = program.tensor(step.output)
            passes *= max(1, math.prod(spec.shape)) if spec else 1
        if isinstance(step, (Call, Generate)):
            calls[step.component] = calls.get(step.component, 0) + passes
    return calls
