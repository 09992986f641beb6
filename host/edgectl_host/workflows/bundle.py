"""A converted release on this host, ready to be sent: what it was converted to, and its bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgectl_converters.assignment import Assignment, Choice
from edgectl_host.workflows.progress import Progress
from edgectl_protos.domain.artifact import Chunk, Digest, FileEntry
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest

__all__ = ["Bundle", "Convert", "assignment_of"]


@dataclass(frozen=True, slots=True)
class Bundle:
    """One bundle directory. `cached`: the conversion found everything done already."""

    directory: Path
    manifest: Manifest
    digest: Digest
    cached: bool = False
    seconds: float = 0.0

    @property
    def assignment(self) -> Assignment:
        """What its components are."""
        return assignment_of(self.manifest)

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


Convert = Callable[[Assignment, Progress], Bundle]
"""Makes the bundle of a checkpoint for an assignment, or finds it in the cache."""


def assignment_of(manifest: Manifest) -> Assignment:
    """The runtimes and schemes of a release; the most frequent word stands for the rest."""
    return Assignment(
        _choice({component.name: component.runtime for component in manifest.components}),
        _choice({component.name: component.scheme for component in manifest.components}),
    )


def _choice(words: dict[str, str]) -> Choice:
    rest = Counter(words.values()).most_common(1)[0][0] if words else ""
    return Choice(rest, tuple(sorted((name, word) for name, word in words.items() if word != rest)))
