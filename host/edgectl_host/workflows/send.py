"""Sends a release to a device: what it lacks of each blob, over several streams where that pays, no faster than it may.

Order for each blob: its chunks, worked out once for all devices → offer → what is missing, in frames of which each
stream takes the next → commit. What the device has at an offer is durable there: so sending goes on after a cut.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass

from edgectl_host.quantities import bytes_words
from edgectl_host.transport.base import DeviceClient, Offered
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.connections import together
from edgectl_host.workflows.frames import frames_of
from edgectl_host.workflows.progress import Progress, Update
from edgectl_host.workflows.rate_limit import RateLimit
from edgectl_protos.codec.transfer import FRAME_BYTES, FRAME_HEADER_BYTES
from edgectl_protos.domain.artifact import Digest, FileEntry
from edgectl_protos.domain.chunks import ChunkList
from edgectl_protos.domain.errors import StateError

__all__ = ["STREAMS", "Sent", "send"]

STREAMS = 4
"""To one device at once: of one large blob, or of several small ones."""
_LARGE_BYTES = 256 << 20
_OFFERS = 3
_FRAMES_PER_S = 8
"""At least so many where the rate is limited: a long frame would be a burst, and its acknowledgement late."""


@dataclass(slots=True)
class Sent:
    """What has been sent so far, in all attempts."""

    bytes: int = 0


async def send(
    client: DeviceClient,
    deployment_id: str,
    bundle: Bundle,
    sent: Sent,
    progress: Progress,
    *,
    limit: RateLimit | None = None,
) -> None:
    """Send what the device lacks of every blob, and see it committed there.

    Raises:
        EdgectlError: what the device refused, or that it is gone.
    """
    delivery = _Delivery(client, deployment_id, bundle, sent, progress, limit)
    blobs = iter(bundle.blobs)
    await together(delivery.work(blobs) for _ in range(STREAMS))


class _Delivery:
    """One bundle on its way to one device."""

    def __init__(
        self,
        client: DeviceClient,
        deployment_id: str,
        bundle: Bundle,
        sent: Sent,
        progress: Progress,
        limit: RateLimit | None,
    ) -> None:
        self._client = client
        self._deployment_id = deployment_id
        self._bundle = bundle
        self._sent = sent
        self._progress = progress
        self._limit = limit
        self._frame_bytes = FRAME_BYTES if limit is None else min(FRAME_BYTES, int(limit.bytes_per_s / _FRAMES_PER_S))
        self._total_bytes = bundle.manifest.size_bytes
        self._there: dict[Digest, int] = {}
        self._lanes = list(range(STREAMS))
        self._lane_free = asyncio.Semaphore(STREAMS)

    async def work(self, blobs: Iterator[FileEntry]) -> None:
        """Send one blob after another, as long as there are any."""
        for entry in blobs:
            await self._blob(entry)

    async def _blob(self, entry: FileEntry) -> None:
        chunks = await self._bundle.chunks(entry)
        for left in reversed(range(_OFFERS)):
            offered = await self._client.offer(self._deployment_id, entry.digest, chunks)
            if offered.complete:
                break
            try:
                if offered.missing:
                    await self._missing(entry, chunks, offered)
                await self._client.commit(self._deployment_id, entry.digest)
                break
            except StateError:
                # An agent that started anew knows no upload; whether the deployment has ended, the next offer tells.
                if not left:
                    raise
        self._show(entry, entry.size_bytes)

    async def _missing(self, entry: FileEntry, chunks: ChunkList, offered: Offered) -> None:
        offsets = chunks.offsets()
        here = entry.size_bytes - sum(offsets[part.stop] - offsets[part.start] for part in offered.missing)
        streams = STREAMS if entry.size_bytes > _LARGE_BYTES else 1
        durable = [0] * streams
        with self._bundle.open(entry) as blob:
            frames = frames_of(blob.fileno(), chunks, offered.missing, offered.upload, frame_bytes=self._frame_bytes)

            async def stream(number: int) -> None:
                async with (
                    self._lane() as lane,
                    contextlib.aclosing(self._paced(frames)) as paced,
                    contextlib.aclosing(self._client.upload(paced, lane=lane)) as replies,
                ):
                    async for durable[number] in replies:
                        self._show(entry, here + sum(durable))

            await together(stream(number) for number in range(streams))

    async def _paced(self, frames: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
        for frame in frames:
            if self._limit is not None:
                await self._limit.take(len(frame))
            yield frame
            self._sent.bytes += len(frame) - FRAME_HEADER_BYTES

    @contextlib.asynccontextmanager
    async def _lane(self) -> AsyncIterator[int]:
        async with self._lane_free:
            lane = self._lanes.pop(0)
            try:
                yield lane
            finally:
                self._lanes.insert(0, lane)

    def _show(self, entry: FileEntry, there_bytes: int) -> None:
        """Tell how much of everything would survive a power cut of the device."""
        self._there[entry.digest] = there_bytes
        share = sum(self._there.values()) / self._total_bytes if self._total_bytes else 1.0
        self._progress(Update(self._client.device, f"sending {bytes_words(self._total_bytes)}", share))
