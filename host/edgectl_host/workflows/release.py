"""A converted release on this host, ready to be sent: the target it is for, and its bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgectl_host.workflows.progress import Progress
from edgectl_protos.domain.artifact import Chunk, Digest, FileEntry, Precision
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest

__all__ = ["Convert", "Release", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """What a conversion is for. Devices with equal targets share one release."""

    runtime: str
    precision: Precision

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision.value}"


@dataclass(frozen=True, slots=True)
class Release:
    """One bundle directory. `cached`: the conversion found everything done already."""

    directory: Path
    manifest: Manifest
    digest: Digest
    cached: bool = False
    seconds: float = 0.0

    @property
    def target(self) -> Target:
        """What it was converted for."""
        component = self.manifest.components[0]
        return Target(component.runtime, component.precision)

    @property
    def manifest_bytes(self) -> bytes:
        """The manifest as it is named by the digest."""
        return (self.directory / MANIFEST_NAME).read_bytes()

    @property
    def blobs(self) -> tuple[FileEntry, ...]:
        """One entry of each distinct blob, the small ones first."""
        distinct = {entry.digest: entry for entry in self.manifest.files}
        return tuple(sorted(distinct.values(), key=lambda entry: (entry.size_bytes, entry.digest)))

    def chunks(self, entry: FileEntry) -> tuple[Chunk, ...]:
        """The pieces in which a blob is sent."""
        from edgectl_converters.bundle import chunks_of

        return chunks_of(self._path(entry))

    def pieces(
        self, entry: FileEntry, chunks: tuple[Chunk, ...], wanted: tuple[int, ...]
    ) -> Iterator[tuple[int, bytes]]:
        """The bytes of the wanted chunks."""
        with self._path(entry).open("rb") as blob:
            for index in wanted:
                blob.seek(chunks[index].offset)
                yield index, blob.read(chunks[index].size_bytes)

    def _path(self, entry: FileEntry) -> Path:
        from edgectl_converters.bundle import blob_path

        return blob_path(self.directory, entry.digest)


Convert = Callable[[Target, Progress], Release]
"""Makes the release of a checkpoint for a target, or finds it in the cache."""
