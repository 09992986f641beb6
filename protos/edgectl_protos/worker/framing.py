"""Frames: a 4-byte big-endian length and a UTF-8 JSON object `{"op": <class name>, "body": {...}}`.

Requests go to the worker's standard input, replies to a descriptor of its own (its standard output goes to its log,
since vendor libraries print). The end of the stream on either side ends the worker.
"""

from __future__ import annotations

import json
import struct
from typing import IO, Any

from edgectl_protos.codec.document import from_document, to_document
from edgectl_protos.domain.errors import WorkerError
from edgectl_protos.worker.messages import MESSAGES

__all__ = ["MAX_FRAME_BYTES", "read_frame", "write_frame"]

MAX_FRAME_BYTES = 16 << 20


def write_frame(stream: IO[bytes], message: Any) -> None:
    """Write one frame and flush it."""
    data = json.dumps({"op": type(message).__name__, "body": to_document(message)}).encode()
    stream.write(struct.pack(">I", len(data)) + data)
    stream.flush()


def read_frame(stream: IO[bytes]) -> Any | None:
    """The next message, or None at a clean end of the stream.

    Raises:
        WorkerError: the stream ends inside a frame, or the frame is not one of ours.
        DocumentError: its body is not that of its message.
    """
    head = stream.read(4)
    if not head:
        return None
    size = struct.unpack(">I", head)[0] if len(head) == 4 else MAX_FRAME_BYTES + 1
    if size > MAX_FRAME_BYTES:
        raise WorkerError("the worker's stream is damaged")
    data = stream.read(size)
    if len(data) < size:
        raise WorkerError("the worker's stream ends inside a message")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise WorkerError(f"the worker's stream is damaged: {exc}") from exc
    op = document.get("op") if isinstance(document, dict) else None
    cls = MESSAGES.get(op) if isinstance(op, str) else None
    if cls is None:
        raise WorkerError(f"unknown worker message {data[:80]!r}")
    return from_document(cls, document.get("body"), what=cls.__name__)
