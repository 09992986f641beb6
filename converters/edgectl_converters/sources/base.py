"""What every source does: recognise a checkpoint, say what it is, export it once.

`sniff` and `card` run on the host and import nothing heavy. `export` runs in the process of the toolchain that the card
names, and reads the checkpoint again there: a request holds paths and choices only.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from edgectl_converters.card import ONNX, PT2, CheckpointCard, Declared, Sha256
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.errors import UsageError
from edgectl_protos.domain.policy import Policy
from edgectl_protos.domain.program import Program
from edgectl_protos.domain.roofline import Work

__all__ = ["ARRAYS", "GOLDEN", "ONNX", "PT2", "Export", "ExportRequest", "ExportedComponent", "Source"]

ARRAYS = "arrays.npz"
GOLDEN = "golden.npz"


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is exported to the folder `out`.

    `observations` is an .npz of raw observations, `[case, *observed shape]` for each feature (texts as a unicode
    array), for which golden actions are wanted; empty where the checkpoint brings its own. `inputs_kind` says in words
    what they are, such as `recorded` or `top recorded; state synthetic`. `declared` is that of the card,
    `forms` are those that targets read.
    """

    source: str
    checkpoint: str
    out: str
    observations: str
    inputs_kind: str
    seed: int
    declared: Declared = field(default_factory=Declared)
    forms: tuple[str, ...] = (ONNX,)


@dataclass(frozen=True, slots=True)
class ExportedComponent:
    """One component: `files` is its path in the export's folder by form, `stored` what it is already (int8, fp16),
    empty for fp32.

    An `onnx` graph has the ports by name. A `pt2` is a torch.export program of fixed shapes, called positionally with
    the inputs in their order, its flat outputs in theirs.
    """

    name: str
    files: dict[str, str]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    stored: str = ""
    work: Work | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """A finished export: the policy as data, and its components as files.

    The folder also holds `arrays.npz` (what the program's steps name), the program's other files (a tokenizer), and
    `golden.npz`: `in.<tensor>` for every observed feature and every noise tensor of the program, `out.<tensor>` for
    tensors of the program, its action among them, case first. Cases of a program with states are one sequence.
    `reference` names what computed the golden outputs, `versions` the packages that decided them.
    """

    policy: Policy
    program: Program
    components: tuple[ExportedComponent, ...]
    reference: str
    inputs_kind: str
    cases: int
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Source(abc.ABC):
    """One checkpoint format."""

    name: ClassVar[str]

    @abc.abstractmethod
    def sniff(self, path: Path) -> bool:
        """Whether this is the format's; a look at names, no more."""

    @abc.abstractmethod
    def card(self, path: Path, sha256: Sha256) -> CheckpointCard:
        """What the checkpoint says about itself.

        Raises:
            CheckpointError: it cannot be read as what it claims to be.
        """

    def declared_card(
        self, path: Path, sha256: Sha256, declared: Declared, footage: Path | None = None
    ) -> CheckpointCard:
        """The card, with what the user says about a bare graph, and footage that may say the shapes of its inputs.

        Raises:
            UsageError: this format says shapes and states itself.
            CheckpointError: as `card`.
        """
        if declared != Declared():
            raise UsageError(
                f"--shape and --state are for ONNX graphs; {path.name} says its shapes and states itself",
                hint="leave them out; in a policy.yaml they are dims and states: see docs/policy-file.md",
            )
        return self.card(path, sha256)

    def spread(self, path: Path) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
        """Offset and scale of the values of observations, where the checkpoint says where they lie: synthetic ones are
        drawn from there. On the host; asked for only when something is exported.
        """
        return {}

    def ranges(self, path: Path) -> dict[str, tuple[float, float]]:
        """The values of a black and of a white pixel in frames that are no bytes, where the checkpoint shows them. On
        the host; asked for only when something is exported.
        """
        return {}

    @abc.abstractmethod
    def export(self, request: ExportRequest, progress: Callable[[str], None]) -> Export:
        """Write the export into `request.out`. Runs in the toolchain of the card.

        Raises:
            CheckpointError: the policy cannot be loaded or exported.
        """
