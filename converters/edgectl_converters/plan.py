"""A conversion as data: which steps, in which toolchain, under which key, and what they will cost.

`conversion.py` makes a plan from a request and runs it; `--dry-run` prints it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgectl_converters.assignment import Assignment
from edgectl_converters.card import Declared
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import Manifest

__all__ = ["Conversion", "ConversionPlan", "ConvertRequest", "PlannedStep"]


@dataclass(frozen=True, slots=True)
class ConvertRequest:
    """What is converted, and into what. `footage` and `loop_file` are optional; `task` is the instruction for a policy
    that takes one, `declared` says what a bare graph leaves open.
    """

    checkpoint: Path
    assignment: Assignment
    footage: Path | None = None
    loop_file: Path | None = None
    task: str = ""
    name: str = ""
    declared: Declared = field(default_factory=Declared)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step: `kind` is export, pass, capture, rank, build, prove or bundle; `tool` is the source, runtime or pass.

    `cached`: its output is there under `key`. Estimates are None where nothing is known; they come from the size of the
    checkpoint and from earlier steps of the same kind.
    """

    kind: str
    subject: str
    tool: str
    toolchain: str
    key: str
    cached: bool
    estimate_s: float | None = None
    disk_bytes: int | None = None
    memory_bytes: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """Ordered steps: those to be done, and those that are cached. What is neither, nothing needs any more."""

    request: ConvertRequest
    steps: tuple[PlannedStep, ...]

    @property
    def cached(self) -> bool:
        """Whether nothing is left to do."""
        return all(step.cached for step in self.steps)


@dataclass(frozen=True, slots=True)
class Conversion:
    """The bundle in the cache. `cached`: nothing had to be done."""

    bundle_dir: Path
    manifest: Manifest
    release: Digest
    cached: bool
    seconds: float
