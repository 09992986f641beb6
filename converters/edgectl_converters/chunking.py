"""In which chunks the blobs of a bundle are sent: cut by content, at the edges of tensors first.

What a file has in common with another comes out as the same chunks, wherever it lies, so a device that has one is sent
only the rest of the other. Computed once per blob and kept beside the bundle, in `chunks/<hex>`.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from edgectl_converters.bundle import blob_path
from edgectl_converters.tensor_cuts import external_cuts, tensor_cuts
from edgectl_protos.codec.transfer import MAX_CHUNK_LIST_BYTES, chunk_digest, chunks_from_bytes, chunks_to_bytes
from edgectl_protos.domain.artifact import FileEntry
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.chunks import MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, ChunkList
from edgectl_protos.domain.errors import BundleCorruptError, BundleError

__all__ = ["bundle_chunks", "cut"]

_KIB, _GIB = 1 << 10, 1 << 30
_AVERAGES = ((_GIB, 64 * _KIB), (8 * _GIB, 256 * _KIB))
_LARGEST_AVERAGE = 512 * _KIB
"""Blobs up to a size, and the average chunk they are cut into: an offer has 20 bytes a chunk, and stays small."""


def bundle_chunks(bundle: Path, manifest: Manifest, entry: FileEntry) -> ChunkList:
    """The chunks of one blob of a bundle, from beside it where they are kept, else cut and kept.

    Raises:
        BundleError: the blob cannot be read, or is far too large.
    """
    blob = blob_path(bundle, entry.digest)
    kept = bundle / "chunks" / entry.digest.hex
    found = _read(kept, blob)
    if found is not None and found.size_bytes == entry.size_bytes:
        return found
    try:
        chunks = cut(blob, [*tensor_cuts(blob), *_external(bundle, manifest, entry)])
    except OSError as exc:
        raise BundleCorruptError(
            f"the bytes of {entry.path} cannot be read: {exc.strerror}",
            hint="convert the checkpoint again: edgectl convert",
        ) from exc
    # A bundle on a disk that may not be written is cut anew each time.
    with contextlib.suppress(OSError):
        kept.parent.mkdir(exist_ok=True)
        aside = kept.with_name(f".{kept.name}.{os.getpid()}")
        try:
            aside.write_bytes(chunks_to_bytes(chunks))
            aside.replace(kept)
        finally:
            aside.unlink(missing_ok=True)
    return chunks


def cut(path: Path, edges: Iterable[int] = ()) -> ChunkList:
    """Cut a file: at the given places, as far as the pieces between them are not too small, and there by content.

    Raises:
        BundleError: it has too many chunks.
    """
    size = path.stat().st_size
    sizes, digests = array("I"), []
    if size:
        with open(path, "rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        at = 0
        for length in _lengths(data, sorted(set(edges))):
            sizes.append(length)
            digests.append(chunk_digest(data[at : at + length]))
            at += length
    return ChunkList(sizes, b"".join(digests))


def _lengths(data: memoryview, edges: list[int]) -> Iterator[int]:
    # Only where something is sent: 10 ms that every other command would pay for.
    from pyfastcdc import FastCDC

    average = next((average for limit, average in _AVERAGES if len(data) <= limit), _LARGEST_AVERAGE)
    # Room for a rest that is too small to be a chunk of its own.
    largest = min(4 * average, MAX_CHUNK_BYTES - MIN_CHUNK_BYTES)
    cutter = FastCDC(average, min_size=average // 4, max_size=largest)
    start = 0
    for stop in [*edges, len(data)]:
        last = stop == len(data)
        if stop > len(data) or stop <= start or (stop - start < MIN_CHUNK_BYTES and not last):
            continue
        waiting = 0
        for chunk in cutter.cut_buf(data[start:stop]):
            if chunk.length < MIN_CHUNK_BYTES and not last:
                waiting += chunk.length
                continue
            if waiting:
                yield waiting
            waiting = chunk.length
        yield waiting
        start = stop


def _external(bundle: Path, manifest: Manifest, entry: FileEntry) -> list[int]:
    """The edges of the tensors that graphs beside this file keep in it."""
    here = PurePosixPath(entry.path)
    graphs = [e for e in manifest.files if e.path.endswith(".onnx") and PurePosixPath(e.path).parent == here.parent]
    return [edge for graph in graphs for edge in external_cuts(blob_path(bundle, graph.digest), here.name)]


def _read(kept: Path, blob: Path) -> ChunkList | None:
    """A list that is kept, unless it is damaged or older than its blob."""
    try:
        if kept.stat().st_mtime_ns < blob.stat().st_mtime_ns:
            return None
        with kept.open("rb") as file:
            return chunks_from_bytes(file.read(MAX_CHUNK_LIST_BYTES + 1))
    except (OSError, BundleError):
        return None
