"""What is known about a checkpoint before anything heavy is imported."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.policy import Policy

__all__ = ["CheckpointCard", "Sha256", "digest_of_files", "sha256_of"]

Sha256 = Callable[[Path], Digest]
"""What gives the digest of a file: `sha256_of`, or one that remembers."""

_READ_SIZE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class CheckpointCard:
    """A checkpoint, sniffed. `source` names what reads it, `toolchain` the environment in which it is exported (`host`
    is this one).

    `size_bytes` is that of the weights; `digest` covers every file that a conversion reads. `components` are those that
    the export will have, in the order of their first use.
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

    @property
    def name(self) -> str:
        """What the release is called unless the user says otherwise."""
        path = self.path.resolve()
        name = path.stem if path.is_file() else path.name
        return path.parent.name if name in ("policy", "pretrained_model") else name


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
