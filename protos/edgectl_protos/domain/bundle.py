"""A bundle: one release of a policy, each component for one runtime in one scheme.

A bundle is a directory with `edgectl.bundle.json` and `blobs/sha256/<hex>`; the manifest maps the paths of the release
to blobs. Its canonical JSON holds neither a time nor a host name, so that converting the same thing twice gives the
same release digest. `codec/document.py` reads and writes it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from edgectl_protos.domain.artifact import Digest, FileEntry, TensorSpec, check_printable_name, check_scheme
from edgectl_protos.domain.errors import BundleError
from edgectl_protos.domain.parity import Tolerance
from edgectl_protos.domain.policy import Policy
from edgectl_protos.domain.program import Program
from edgectl_protos.domain.program_checks import check_components, check_program
from edgectl_protos.domain.roofline import Work

__all__ = [
    "MANIFEST_NAME",
    "MAX_CASES",
    "MAX_MANIFEST_BYTES",
    "SCHEMA",
    "BuildRecipe",
    "Component",
    "GateResult",
    "Golden",
    "Manifest",
    "Provenance",
    "ToolRun",
    "folder_of",
]

SCHEMA = "edgectl.dev/bundle/v2"
MANIFEST_NAME = "edgectl.bundle.json"
MAX_MANIFEST_BYTES = 1 << 20
"""It is read whole, kept, and sent in one message; what edgectl writes has some tens of kilobytes."""

MAX_CASES = 10_000
"""Golden cases are run one by one before a release is activated."""


@dataclass(frozen=True, slots=True)
class BuildRecipe:
    """How the device builds what only it can build, from the component's files; the result is cached by all of this.

    `builder` names the runtime's own builder, `options` are its settings.
    """

    builder: str
    options: dict[str, str] = field(default_factory=dict)


def folder_of(component: str) -> str:
    """Where the files of a component stand in a release."""
    return f"components/{component}"


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the policy as a runtime's artifact: the files below `components/<name>/`, of which the runtime opens
    `entry` (a file or folder in that folder; empty for the folder itself).

    `scheme` says what it is stored and computed in; the precision used is read back on the device. `options` are
    settings from the runtime's own list. `states` binds inputs to outputs of a runtime that keeps state itself: input
    port → output port of the same shape. `tolerance` is what this scheme may differ by. `work` was counted from the
    exported graph; None where it cannot be.
    """

    name: str
    runtime: str
    scheme: str
    entry: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tolerance: Tolerance
    options: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    recipe: BuildRecipe | None = None
    work: Work | None = None

    def __post_init__(self) -> None:
        check_printable_name(self.name, "a component")
        check_printable_name(self.runtime, "a runtime")
        check_scheme(self.scheme)
        inputs, outputs = ({spec.name: spec for spec in specs} for specs in (self.inputs, self.outputs))
        for port, source in self.states.items():
            here, there = inputs.get(port), outputs.get(source)
            if here is None or there is None:
                raise BundleError(f"component {self.name!r} feeds {source!r} back to {port!r}, and lacks one of them")
            free = -1 in here.shape or -1 in there.shape
            if here.dtype is not there.dtype or (here.shape != there.shape and not free):
                raise BundleError(
                    f"component {self.name!r} feeds {source!r} {list(there.shape)} back to {port!r} {list(here.shape)}"
                )

    @property
    def folder(self) -> str:
        """Where its files stand in the release."""
        return folder_of(self.name)


@dataclass(frozen=True, slots=True)
class Golden:
    """Golden cases: an .npz with `in.<tensor>` and `out.<tensor>`, case first. No pickles.

    `in.*` are raw observations as the robot has them (uint8 HWC frames, unnormalised state, texts) and the noise of
    each case; `out.*` tensors of the program, its action `[case, chunk, *action]` in the robot's units among them,
    written by the reference (`reference` names it and its version). `inputs_kind` says what the observations were,
    recorded or synthetic. Cases of a program with states are one sequence from a reset. `trace` is the path of what an
    oracle computed inside the program on these cases, in float32; empty where none could run it.
    """

    path: str
    count: int
    reference: str
    inputs_kind: str
    trace: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_CASES:
            raise BundleError(f"{self.path[:80]!r} cannot hold {self.count} golden cases; 1 to {MAX_CASES} can be")


@dataclass(frozen=True, slots=True)
class GateResult:
    """What a gate measured against its limit: parity, placement, or precision.

    `pending`: it cannot be run on the host that converted, and the device's own gate decides.
    """

    gate: str
    subject: str
    value: float
    limit: float
    passed: bool
    note: str = ""
    pending: bool = False


@dataclass(frozen=True, slots=True)
class ToolRun:
    """One step of the conversion: which tool, with which options, in which locked toolchain."""

    name: str
    tool: str
    options: dict[str, str]
    toolchain: str
    lock: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the release comes from. `checkpoint` is the digest over all files of the checkpoint."""

    checkpoint: Digest
    source: str
    tools: tuple[ToolRun, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The release: its parts belong together and are installed together or not at all.

    `loop` is the path of the loop specification (JSON). `policy` says what is observed and done, `program` how.
    """

    name: str
    policy: Policy
    program: Program
    components: tuple[Component, ...]
    files: tuple[FileEntry, ...]
    loop: str
    golden: Golden | None
    gates: tuple[GateResult, ...]
    provenance: Provenance
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise BundleError(f"bundle schema {self.schema!r} is not {SCHEMA!r}", hint="convert again: edgectl convert")
        check_printable_name(self.name, "a release")
        paths = {entry.path for entry in self.files}
        if len(paths) != len(self.files):
            raise BundleError("bundle lists the same path twice")
        names = [component.name for component in self.components]
        if len(set(names)) != len(names):
            raise BundleError("bundle has two components of one name")
        golden = self.golden
        wanted = [self.loop, *self.program.files, *filter(None, (golden.path, golden.trace) if golden else ())]
        for path in wanted:
            if path not in paths:
                raise BundleError(f"bundle names {path!r} but does not hold it")
        for component in self.components:
            entry = f"{component.folder}/{component.entry}"
            if component.entry and entry not in paths and not any(path.startswith(f"{entry}/") for path in paths):
                raise BundleError(f"bundle names {entry!r} but does not hold it")
            if not self.files_of(component):
                raise BundleError(f"bundle holds no file of the component {component.name!r}")
        check_program(self.policy, self.program)
        check_components(self.program, self.policy, {c.name: (c.inputs, c.outputs) for c in self.components})

    @property
    def size_bytes(self) -> int:
        """Bytes of all distinct blobs."""
        return sum({entry.digest: entry.size_bytes for entry in self.files}.values())

    @property
    def tolerance(self) -> Tolerance:
        """What the final action may differ by: as much as the loosest component allows."""
        each = (component.tolerance for component in self.components)
        return functools.reduce(Tolerance.loosest, each, Tolerance(0.0, 0.0, 0.0, 0.0))

    def component(self, name: str) -> Component | None:
        """The component of this name."""
        return next((component for component in self.components if component.name == name), None)

    def files_of(self, component: Component) -> tuple[FileEntry, ...]:
        """The files of a component."""
        return tuple(entry for entry in self.files if entry.path.startswith(f"{component.folder}/"))

    def file(self, path: str) -> FileEntry:
        """The entry at this path.

        Raises:
            BundleError: there is none.
        """
        for entry in self.files:
            if entry.path == path:
                return entry
        raise BundleError(f"bundle has no file {path!r}")
