"""Sends a bundle: for each blob offer, send what the device lacks, commit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from edgectl_host.quantities import bytes_words
from edgectl_host.transport.base import DeviceClient
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.progress import Progress, Update

__all__ = ["send"]

_Pieces = AsyncIterator[tuple[int, bytes]]


async def send(client: DeviceClient, deployment_id: str, bundle: Bundle, progress: Progress) -> int:
    """Send what the device lacks of every blob; how many bytes that was.

    Raises:
        EdgectlError: what the device refused, or that it is gone.
    """
    total = bundle.manifest.size_bytes
    done = sent = 0
    for entry in bundle.blobs:
        chunks = await bundle.chunks(entry)
        offered = await client.offer(deployment_id, entry.digest, entry.size_bytes, chunks)
        if not offered.complete:
            missing = sum(chunks[index].size_bytes for index in offered.missing)
            if offered.missing:
                before = done + entry.size_bytes - missing
                async with aclosing(bundle.pieces(entry, chunks, offered.missing)) as pieces:
                    counted = _counted(pieces, client.device, before, total, progress)
                    await client.upload(deployment_id, entry.digest, counted)
            await client.commit(deployment_id, entry.digest)
            sent += missing
        done += entry.size_bytes
    return sent


async def _counted(pieces: _Pieces, device: str, done: int, total: int, progress: Progress) -> _Pieces:
    """The pieces, telling how many bytes have passed; `done` of `total` are on the device already."""
    async for index, data in pieces:
        yield index, data
        done += len(data)
        progress(Update(device, f"sending {bytes_words(total)}", done / total))
