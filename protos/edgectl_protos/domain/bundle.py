"""A bundle: one release of a policy for one runtime at one precision.

A bundle is a directory with `edgectl.bundle.json` and `blobs/sha256/<hex>`; the manifest maps the paths
of the release to blobs. Its canonical JSON holds neither a time nor a host name, so that converting the
same thing twice gives the same release digest. `codec/document.py` reads and writes it.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgectl_protos.domain.artifact import Digest, FileEntry, Precision, TensorSpec
from edgectl_protos.domain.errors import BundleError
from edgectl_protos.domain.loop import Policy

__all__ = [
    "MANIFEST_NAME",
    "SCHEMA",
    "Component",
    "GateResult",
    "Golden",
    "Manifest",
    "Provenance",
    "Step",
    "Tolerance",
]

SCHEMA = "edgectl.dev/bundle/v1"
MANIFEST_NAME = "edgectl.bundle.json"


@dataclass(frozen=True, slots=True)
class Component:
    """One graph of the policy (`full` for a policy that is one graph) as a runtime's artifact.

    `artifact` is the path of the file the runtime opens; a companion file (`.bin`) lies beside it.
    """

    name: str
    runtime: str
    precision: Precision
    artifact: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    options: dict[str, str]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The parity gate. Errors are relative to the range (max - min) of each expected output."""

    max_abs_of_range: float
    min_cosine: float


@dataclass(frozen=True, slots=True)
class Golden:
    """Golden cases: an .npz with `in.<feature>` and `out.<feature>`, case first. No pickles.

    `in.*` are raw observations as the robot has them (uint8 HWC frames, unnormalised state), `out.action`
    are final actions `[case, chunk, action]` in the robot's units, written by the reference (`reference`
    names it and its version). `inputs_kind` says what the observations were: `recorded` or `synthetic`.
    """

    path: str
    count: int
    reference: str
    inputs_kind: str
    tolerance: Tolerance


@dataclass(frozen=True, slots=True)
class GateResult:
    """What a gate measured against its limit: parity, placement, or precision."""

    gate: str
    subject: str
    value: float
    limit: float
    passed: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Step:
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
    policy: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The release: its parts belong together and are installed together or not at all.

    `loop` is the path of the loop specification (JSON). `policy` says how observations become graph inputs
    and outputs become actions.
    """

    name: str
    components: tuple[Component, ...]
    files: tuple[FileEntry, ...]
    policy: Policy
    loop: str
    golden: Golden | None
    gates: tuple[GateResult, ...]
    provenance: Provenance
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise BundleError(f"bundle schema {self.schema!r} is not {SCHEMA!r}", hint="convert again: edgectl convert")
        paths = [entry.path for entry in self.files]
        if len(set(paths)) != len(paths):
            raise BundleError("bundle lists the same path twice")
        wanted = [component.artifact for component in self.components] + [self.loop]
        wanted += [self.golden.path] if self.golden else []
        wanted += [self.policy.arrays] if self.policy.arrays else []
        for path in wanted:
            if path not in paths:
                raise BundleError(f"bundle names {path!r} but does not hold it")

    @property
    def size_bytes(self) -> int:
        """Bytes of all distinct blobs."""
        return sum({entry.digest: entry.size_bytes for entry in self.files}.values())

    def file(self, path: str) -> FileEntry:
        """The entry at this path.

        Raises:
            BundleError: there is none.
        """
        for entry in self.files:
            if entry.path == path:
                return entry
        raise BundleError(f"bundle has no file {path!r}")
