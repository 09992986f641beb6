"""Which Python a release is loaded in. A release may need runtimes of several; its worker runs in one of them.

The worker's own is the one whose components an inference calls most often: a call into another interpreter costs a
frame each way.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.errors import DocumentError
from edgectl_protos.domain.program import Call, Generate, Program, flat_steps

__all__ = ["Interpreters", "Seat", "calls_of"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Named:
    interpreters: dict[str, str]


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a release is loaded: the worker's Python, and those of the runtimes that it does not hold."""

    python: str
    others: dict[str, str]


@dataclass(frozen=True, slots=True)
class Interpreters:
    """`default`, unless `named` has another one for a runtime, or `file`, a JSON object of runtime → Python that may
    change while the agent runs.
    """

    default: str
    named: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None

    @property
    def by_runtime(self) -> dict[str, str]:
        """The Pythons of those runtimes that the default one does not hold, as of now."""
        if self.file is None:
            return dict(self.named)
        try:
            found = from_bytes(_Named, self.file.read_bytes(), what=self.file.name).interpreters
        except FileNotFoundError:
            found = {}
        except (OSError, DocumentError) as exc:
            _LOG.error("%s cannot be read: %s", self.file, exc)
            found = {}
        return {**found, **self.named}

    def of(self, runtime: str) -> str:
        """The Python that holds a runtime."""
        return self.by_runtime.get(runtime, self.default)

    def seat(self, manifest: Manifest) -> Seat:
        """Where a release is loaded. Of two that are called equally often, the one that is called first."""
        calls = calls_of(manifest.program)
        named = self.by_runtime
        pythons = {one.name: named.get(one.runtime, self.default) for one in manifest.components}
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
