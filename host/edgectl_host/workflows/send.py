"""Sends a bundle: for each blob offer, send what the device lacks, commit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from edgectl_host.quantities import bytes_words
from edgectl_host.transport.base import DeviceClient
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.progress import Progress, Update

__all__ = ["Sent", "send"]

_Pieces = AsyncIterator[tuple[int, bytes]]


@dataclass(slots=True)
class Sent:
    """What has been sent so far, in all attempts."""

    bytes: int = 0


async def send(client: DeviceClient, deployment_id: str, bundle: Bundle, sent: Sent, progress: Progress) -> None:
    """Send what the device lacks of every blob.

    Raises:
        EdgectlError: what the device refused, or that it is gone.
    """
    total = bundle.manifest.size_bytes
    done = 0
    for entry in bundle.blobs:
        chunks = await bundle.chunks(entry)
        offered = await client.offer(deployment_id, entry.digest, entry.size_bytes, chunks)
        if not offered.complete:
            if offered.missing:
                missing = sum(chunks[index].size_bytes for index in offered.missing)
                told = _told(client.device, done + entry.size_bytes - missing, total, sent, progress)
                async with aclosing(bundle.pieces(entry, chunks, offered.missing)) as pieces:
                    await client.upload(deployment_id, entry.digest, told(pieces))
            await client.commit(deployment_id, entry.digest)
        done += entry.size_bytes


def _told(device: str, done: int, total: int, sent: Sent, progress: Progress) -> Callable[[_Pieces], _Pieces]:
    """Counts the pieces that pass; `done` of `total` bytes are on the device already."""

    async def told(pieces: _Pieces) -> _Pieces:
        position = done
        async for index, data in pieces:
            yield index, data
            position += len(data)
            sent.bytes += len(data)
            progress(Update(device, f"sending {bytes_words(total)}", position / total))

    return told
