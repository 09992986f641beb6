"""A converted release on this host, ready to be sent: what it was converted to, and its bytes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from edgectl_converters.assignment import Assignment, Choice
from edgectl_host.workflows.progress import Progress
from edgectl_protos.domain.artifact import Digest, FileEntry
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest
from edgectl_protos.domain.chunks import ChunkList
from edgectl_protos.domain.errors import BundleCorruptError

__all__ = ["Bundle", "Convert", "assignment_of"]


@dataclass(frozen=True, slots=True)
class Bundle:
    """One bundle directory. `cached`: the conversion found everything done already. `cuts`: the chunks of its blobs, as
    they are worked out, for whoever sends it to many devices.
    """

    directory: Path
    manifest: Manifest
    digest: Digest
    cached: bool = False
    seconds: float = 0.0
    cuts: dict[Digest, asyncio.Task[ChunkList]] = field(default_factory=dict, compare=False, repr=False)

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

    async def chunks(self, entry: FileEntry) -> ChunkList:
        """The chunks in which a blob is sent: kept beside the bundle, or read, cut and hashed once, whoever asks.

        Raises:
            BundleError: the blob cannot be read, or is far too large.
        """
        from edgectl_converters.chunking import bundle_chunks

        if entry.digest not in self.cuts:
            cutting = asyncio.to_thread(bundle_chunks, self.directory, self.manifest, entry)
            self.cuts[entry.digest] = asyncio.create_task(cutting)
        # One that asked and was cancelled takes nothing from the others.
        return await asyncio.shield(self.cuts[entry.digest])

    def open(self, entry: FileEntry) -> BinaryIO:
        """The bytes of a blob.

        Raises:
            BundleCorruptError: it cannot be opened.
        """
        from edgectl_converters.bundle import blob_path

        try:
            return blob_path(self.directory, entry.digest).open("rb")
        except OSError as exc:
            raise BundleCorruptError(
                f"the bytes of {entry.path} cannot be read: {exc.strerror}",
                hint="convert the checkpoint again: edgectl convert",
            ) from exc


Convert = Callable[[Assignment, Progress], Awaitable[Bundle]]
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
