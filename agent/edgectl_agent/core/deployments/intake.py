"""The way in for blobs: each offer shows the deployment id that holds the device, each frame the name that it got.

A host that re-attaches to a deployment which has gone on meanwhile is told that every blob is complete; only
sending something needs a deployment that still takes blobs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from edgectl_agent.core.deployments.deployer import Deployer
from edgectl_agent.core.deployments.gates import check_loop
from edgectl_agent.core.store.store import Store
from edgectl_agent.core.store.upload import Upload
from edgectl_protos.codec.transfer import Frame, chunks_from_bytes, frame_from_bytes
from edgectl_protos.domain.artifact import Digest, FileEntry
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.errors import ProtocolError

__all__ = ["Answer", "Intake"]


@dataclass(frozen=True, slots=True)
class Answer:
    """To an offer. `have`: a bitmap of the chunks that need not be sent. `upload` stands in every frame of the rest."""

    complete: bool
    have: bytes = b""
    upload: bytes = b""


class Intake:
    """Takes blobs of the deployment that holds the device, and refuses all others."""

    def __init__(self, deployer: Deployer, store: Store) -> None:
        self._deployer = deployer
        self._store = store
        self._offering = threading.Lock()

    def offer(self, deployment_id: str, digest: Digest, chunks: bytes) -> Answer:
        """What of a blob is here; the space of the rest is reserved. Chunks of other blobs are copied first.

        Raises:
            StateError: the deployment takes no blobs.
            NotFoundError: the release has no such blob.
            BundleError: this is no chunk list of the blob.
            DiskFullError: there is no room.
        """
        entry = self._entry(deployment_id, digest)
        if not self._store.blobs.has(digest):
            self._deployer.staging(deployment_id)
        # One at a time: the longest list takes 20 MB while it is looked through.
        with self._offering:
            upload = self._store.offer(
                entry,
                chunks_from_bytes(chunks),
                holder=deployment_id,
                going_on=lambda: self._deployer.staging(deployment_id),
            )
            return Answer(True) if upload is None else Answer(False, upload.have(), upload.name)

    def upload(self, frames: Iterable[bytes], end: Callable[[], object]) -> Iterator[int]:
        """Store frames of one upload; how many bytes of them are durable, again whenever that has grown.

        `end` ends the stream from outside: when the blob is offered anew, or its deployment takes no more.

        Raises:
            ProtocolError: something is no frame, or of another upload.
            StateError: the upload is not known, or its deployment takes no blobs (any more).
            BundleCorruptError: a chunk arrived altered.
        """
        upload: Upload | None = None
        waiting: deque[tuple[int, int]] = deque()
        durable_bytes = arrived_bytes = 0
        try:
            for data in frames:
                frame = frame_from_bytes(data)
                if upload is None:
                    upload = self._store.uploads.named(frame.upload)
                    upload.begin(end)
                self._check(frame, upload)
                waiting.append((upload.write(frame.first, frame.count, frame.body), len(frame.body)))
                arrived_bytes += len(frame.body)
                if upload.due:
                    upload.sync()
                before = durable_bytes
                while waiting and waiting[0][0] <= upload.synced:
                    durable_bytes += waiting.popleft()[1]
                if durable_bytes > before:
                    yield durable_bytes
        finally:
            # Also when the stream broke: what has arrived need not be sent again.
            if upload is not None:
                try:
                    upload.sync()
                finally:
                    upload.leave(end)
        if waiting:
            yield arrived_bytes

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

    def _check(self, frame: Frame, upload: Upload) -> None:
        """Refuse a frame of another upload, or for whose blob it is too late."""
        if frame.upload != upload.name:
            raise ProtocolError(
                f"a frame of another upload than that of blob {upload.digest.short}, or of an earlier offer",
                hint="offer it again and send what is missing: edgectl deploy",
            )
        self._deployer.staging(upload.holder)

    def _entry(self, deployment_id: str, digest: Digest) -> FileEntry:
        return self._store.entry(self._manifest(deployment_id), digest)

    def _manifest(self, deployment_id: str) -> Manifest:
        return self._store.manifest(self._deployer.attached(deployment_id).release)
