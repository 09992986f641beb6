"""The framed protocol between the daemon and a worker: pipes, JSON documents, standard library only.

A frame is a 4-byte big-endian length and a UTF-8 JSON object. The daemon writes requests to the worker's
standard input: `{"op": <class name>, "body": {...}}`. The worker answers each with any number of `Progress`
frames and then exactly one reply or `Failure`, on a descriptor of its own (its standard output goes to its
log, since vendor libraries print). One request at a time. EOF on either side ends the worker.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import IO, Any

from edgectl_protos.codec.document import from_document, to_document
from edgectl_protos.domain.deployment import Failure, ParityFigure
from edgectl_protos.domain.device import DeviceFacts, RuntimeFacts
from edgectl_protos.domain.errors import WorkerError
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.run import RunPhase, RunSummary

__all__ = [
    "MAX_FRAME_BYTES",
    "Load",
    "Loaded",
    "Parity",
    "ParityReply",
    "Probe",
    "ProbeReply",
    "Progress",
    "Run",
    "RunReply",
    "Smoke",
    "SmokeReply",
    "read_frame",
    "write_frame",
]

MAX_FRAME_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Probe:
    """Which runtimes can be used here? Imports each one found."""


@dataclass(frozen=True, slots=True)
class ProbeReply:
    """The answer to `Probe`."""

    runtimes: tuple[RuntimeFacts, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """Load the release in this directory; `threads` 0 means one per core."""

    release_dir: str
    threads: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """The runtime as loaded: precision and provider are read back from it, not assumed."""

    runtime: str
    runtime_version: str
    precision: str
    provider: str
    import_s: float
    load_s: float


@dataclass(frozen=True, slots=True)
class Parity:
    """Run the release's golden cases, raw observation to final action."""


@dataclass(frozen=True, slots=True)
class ParityReply:
    """Figures of each output; empty when the release has no golden cases."""

    figures: tuple[ParityFigure, ...]


@dataclass(frozen=True, slots=True)
class Smoke:
    """Run the loop for a few ticks, every stage of it, and check the actions."""


@dataclass(frozen=True, slots=True)
class SmokeReply:
    """The loop ran this many ticks."""

    ticks: int


@dataclass(frozen=True, slots=True)
class Run:
    """Measure the loop; samples are spooled to `spool_path` (.npz)."""

    run_id: str
    deployment_id: str
    overrides: LoopOverrides
    facts: DeviceFacts
    spool_path: str


@dataclass(frozen=True, slots=True)
class RunReply:
    """The finished run."""

    summary: RunSummary


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a `Run` or `Parity` is, 0..1. At most a few a second, none while measuring."""

    phase: RunPhase
    progress: float


_FRAMES: dict[str, type] = {
    cls.__name__: cls
    for cls in (Probe, ProbeReply, Load, Loaded, Parity, ParityReply, Smoke, SmokeReply, Run, RunReply)
} | {"Progress": Progress, "Failure": Failure}


def write_frame(stream: IO[bytes], message: Any) -> None:
    """Write one frame and flush it."""
    data = json.dumps({"op": type(message).__name__, "body": to_document(message)}).encode()
    stream.write(struct.pack(">I", len(data)) + data)
    stream.flush()


def read_frame(stream: IO[bytes]) -> Any | None:
    """The next message, or None at a clean end of the stream.

    Raises:
        WorkerError: the stream ends inside a frame, or the frame is not one of ours.
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
    document = json.loads(data)
    cls = _FRAMES.get(document.get("op"))
    if cls is None:
        raise WorkerError(f"unknown worker message {document.get('op')!r}")
    return from_document(cls, document.get("body"), what=cls.__name__)
