"""The way in for blobs: each call and each frame shows the deployment id that holds the device.

A host that re-attaches to a deployment which has gone on meanwhile is told that every blob is complete; only
sending something needs a deployment that still takes blobs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edgectl_agent.core.deployments.deployer import Deployer
from edgectl_agent.core.deployments.gates import check_loop
from edgectl_agent.core.store.store import Store
from edgectl_protos.domain.artifact import Chunk, Digest, FileEntry
from edgectl_protos.domain.bundle import Manifest

__all__ = ["Frame", "Intake"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One chunk on its way in."""

    deployment_id: str
    digest: Digest
    chunk: int
    data: bytes


class Intake:
    """Takes blobs of the deployment that holds the device, and refuses all others."""

    def __init__(self, deployer: Deployer, store: Store) -> None:
        self._deployer = deployer
        self._store = store

    def offer(
        self, deployment_id: str, digest: Digest, size_bytes: int, chunks: tuple[Chunk, ...]
    ) -> tuple[bool, tuple[int, ...]]:
        """Whether the blob is complete here, and if not, which chunks it lacks; their space is reserved.

        Raises:
            StateError: the deployment takes no blobs.
            NotFoundError: the release has no such blob.
            DiskFullError: there is no room.
        """
        entry = self._entry(deployment_id, digest)
        if not self._store.blobs.has(digest):
            self._deployer.staging(deployment_id)
        return self._store.offer(entry, size_bytes, chunks)

    def upload(self, frames: Iterable[Frame]) -> int:
        """Store chunks; the bytes that this call made durable.

        Raises:
            StateError: the deployment takes no blobs (any more).
            BundleCorruptError: a chunk arrived altered.
        """
        durable_bytes = 0
        for (deployment_id, digest), group in itertools.groupby(
            frames, key=lambda frame: (frame.deployment_id, frame.digest)
        ):
            self._entry(deployment_id, digest)
            durable_bytes += self._store.uploads.write(digest, self._pieces(group))
        return durable_bytes

    def commit(self, deployment_id: str, digest: Digest) -> None:
        """Verify a whole blob and make it visible.

        Raises:
            StateError: the deployment takes no blobs, or chunks are missing.
            BundleCorruptError: the bytes are not those of the digest; they are dropped.
            LoopSpecError: it is the loop, and does not fit the policy: the rest need not be sent.
        """
        manifest = self._manifest(deployment_id)
        self._store.entry(manifest, digest)
        if not self._store.blobs.has(digest):
            self._deployer.staging(deployment_id)
        self._store.uploads.commit(digest)
        if digest == manifest.file(manifest.loop).digest:
            check_loop(manifest, self._store.loop(manifest))

    def _entry(self, deployment_id: str, digest: Digest) -> FileEntry:
        return self._store.entry(self._manifest(deployment_id), digest)

    def _manifest(self, deployment_id: str) -> Manifest:
        return self._store.manifest(self._deployer.attached(deployment_id).release)

    def _pieces(self, frames: Iterable[Frame]) -> Iterator[tuple[int, bytes]]:
        for frame in frames:
            self._deployer.staging(frame.deployment_id)
            yield frame.chunk, frame.data
