"""What is known about a checkpoint before anything heavy is imported."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edgectl_converters.toolchain import HOST
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.policy import Policy

__all__ = ["ONNX", "PT2", "CheckpointCard", "Declared", "Sha256", "as_it_is", "digest_of_files", "sha256_of", "unread"]

ONNX, PT2 = "onnx", "pt2"
"""Forms in which components are exported for targets: an ONNX graph, a torch.export program."""

Sha256 = Callable[[Path], Digest]
"""What gives the digest of a file: `sha256_of`, or one that remembers."""

_READ_SIZE_BYTES = 1 << 20


_EVERYWHERE = re.compile(r"policy|pretrained_model|last|checkpoints|snapshots|\d{6,}|[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Declared:
    """What is said about a bare graph, which says little itself: `shapes` of its inputs, and its `states`, the output
    that is fed back to each input; None: they are found by their names.
    """

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    states: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class CheckpointCard:
    """A checkpoint, sniffed. `source` names what reads it, `toolchain` the environment in which it is exported (`host`
    is this one). `forms` are those that components can be exported in, `carried` those of them that the checkpoint
    carries, which take no toolchain.

    `size_bytes` is that of the weights; `digest` covers every file that a conversion reads. `components` are those that
    the export will have, in the order of their first use. `schemes`: what a graph is already, and in which others it
    may be computed; empty where it is built in any. `declared` holds what was said about it and what was found.
    """

    path: Path
    source: str
    policy: Policy
    parameters: int
    size_bytes: int
    toolchain: str
    digest: Digest
    components: tuple[str, ...]
    notes: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    declared: Declared = field(default_factory=Declared)
    forms: tuple[str, ...] = (ONNX,)
    carried: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the release is called unless the user says otherwise."""
        path = self.path.resolve()
        if path.is_file() and path.stem != "policy":
            return path.stem
        # The folders of a training run and of the Hub's cache that are called alike everywhere.
        while _EVERYWHERE.fullmatch(path.stem) and path.parent != path.parent.parent:
            path = path.parent
        return path.name.rpartition("--")[2] if path.name.startswith("models--") else path.name

    def toolchain_of(self, forms: Iterable[str]) -> str:
        """The environment in which these forms are exported."""
        return HOST if self.carried and set(forms) <= set(self.carried) else self.toolchain


def as_it_is(card: CheckpointCard) -> str:
    """Why a graph that is quantised or in half precision already is built in no other scheme."""
    return (
        f"the graph is {card.schemes[0]} already and is taken as it is; it can be asked for as "
        f"{' or '.join(card.schemes)}, which says in what it must compute"
    )


def unread(card: CheckpointCard, runtime: str, reads: Iterable[str]) -> str:
    """Why a runtime's target cannot take this checkpoint in any of its forms."""
    return f"{runtime} is built from {' or '.join(reads)}; this checkpoint gives {' and '.join(card.forms)}"


def sha256_of(path: Path) -> Digest:
    """The digest of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(_READ_SIZE_BYTES):
            digest.update(data)
    return Digest(digest.hexdigest())


def digest_of_files(root: Path, paths: Iterable[Path], sha256: Sha256 = sha256_of) -> Digest:
    """One digest over files and their names below `root`."""
    lines = sorted(f"{path.relative_to(root).as_posix()} {sha256(path)}" for path in paths)
    return Digest(hashlib.sha256("\n".join(lines).encode()).hexdigest())
