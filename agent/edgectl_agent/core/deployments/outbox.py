"""Events that no host has acknowledged: an append-only file of JSON lines, each synced as it is written.

A line is an event, `{"acknowledged": n, "deployment_id": …}`, or `{"last": n}`. Sequence numbers grow for ever, across
restarts. The file is rewritten at start and when it has grown, then beginning with the last number that was given out.
Bounded: when hosts stay away, the oldest events go. A disk that refuses an event is logged and never raised: the events
in memory are told all the same, and those that a restart loses are told again from the journal.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from edgectl_agent.core.store.atomic import Disk, read_file, room
from edgectl_protos.codec.document import from_document, to_document
from edgectl_protos.domain.deployment import DeploymentEvent
from edgectl_protos.domain.errors import DeviceError, DocumentError, EdgectlError

__all__ = ["Outbox"]

_LOG = logging.getLogger(__name__)
_COMPACT_FACTOR = 2
_MAX_BYTES = 64 << 20
_MAX_SEQUENCE = 2**53
"""Far more events than a device lives to see; a damaged line must not use up the numbers."""


class Outbox:
    """The events in order. The deployer owns it and calls it under its own lock."""

    def __init__(self, path: Path, disk: Disk, *, kept: int) -> None:
        self._path = path
        self._disk = disk
        self._kept = kept
        self._events: list[DeploymentEvent] = []
        self._last = 0
        self._lines = 0
        self._fd: int | None = None
        self._closed = False

    def open(self) -> None:
        """Read the file; what a power cut left of a last line is dropped."""
        for number, line in enumerate(self._read().split(b"\n"), start=1):
            if not line:
                continue
            try:
                self._take(json.loads(line))
            except (ValueError, RecursionError, EdgectlError) as exc:
                _LOG.warning("line %d of the outbox is damaged and was dropped: %s", number, exc)
        self._compact()

    def close(self) -> None:
        """End the use of the file."""
        self._closed = True
        self._close_file()

    @property
    def next_sequence(self) -> int:
        """The sequence number of the next event."""
        return self._last + 1

    def append(self, event: DeploymentEvent) -> None:
        """Make an event durable, if the disk takes it. It is told to hosts in any case."""
        self._events.append(event)
        self._last = max(self._last, event.sequence)
        self._write(to_document(event))
        self._compact_if_grown()

    def after(self, sequence: int, deployment_id: str) -> list[DeploymentEvent]:
        """Events of a deployment with a higher sequence number."""
        return [e for e in self._events if e.sequence > sequence and e.deployment_id == deployment_id]

    def acknowledge(self, deployment_id: str, up_to_sequence: int) -> None:
        """Forget events of a deployment; a number that was never given out forgets no future ones."""
        up_to = min(up_to_sequence, self._last)
        if all(event.sequence > up_to or event.deployment_id != deployment_id for event in self._events):
            return
        self._write({"acknowledged": up_to, "deployment_id": deployment_id})
        self._forget(deployment_id, up_to)
        self._compact_if_grown()

    def _take(self, document: Any) -> None:
        fields = document if isinstance(document, dict) else {}
        last, up_to = fields.get("last"), fields.get("acknowledged")
        if type(last) is int and 0 <= last < _MAX_SEQUENCE:
            self._last = max(self._last, last)
            return
        if type(up_to) is int:
            self._forget(fields.get("deployment_id"), up_to)
            return
        event = from_document(DeploymentEvent, document, what="event", lenient=True)
        if not 0 < event.sequence < _MAX_SEQUENCE:
            raise DocumentError(f"event: {event.sequence} is no sequence number")
        self._events.append(event)
        self._last = max(self._last, event.sequence)

    def _forget(self, deployment_id: Any, up_to: int) -> None:
        self._events = [e for e in self._events if e.sequence > up_to or e.deployment_id != deployment_id]

    def _read(self) -> bytes:
        try:
            return read_file(self._path, limit_bytes=_MAX_BYTES)
        except FileNotFoundError:
            return b""
        except (OSError, EdgectlError) as exc:
            self._disk.set_aside(self._path, self._path.parent / "damaged", exc)
            return b""

    def _write(self, document: Any) -> None:
        if self._closed:
            return
        self._lines += 1
        if self._fd is None:
            # The disk refused the whole file before.
            self._compact()
            return
        # The newline leads, so that a line which a full disk cut short does not swallow the next one.
        try:
            self._disk.append(self._fd, b"\n" + json.dumps(document).encode(), self._path)
        except DeviceError as exc:
            _LOG.error("the outbox: %s", exc.message)

    def _compact_if_grown(self) -> None:
        if self._lines > _COMPACT_FACTOR * self._kept:
            self._compact()

    def _compact(self) -> None:
        dropped = len(self._events) - self._kept
        if dropped > 0:
            _LOG.warning("%d events that no host has fetched were dropped", dropped)
            self._events = self._events[dropped:]
        documents: list[Any] = [{"last": self._last}]
        documents += [to_document(event) for event in self._events]
        self._close_file()
        self._lines = len(documents)
        # When every event is acknowledged, that number alone carries the sequence on.
        text = "".join(json.dumps(document) + "\n" for document in documents)
        try:
            self._disk.write(self._path, text.encode())
            with room(self._path):
                self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        except DeviceError as exc:
            _LOG.error("the outbox: %s", exc.message)

    def _close_file(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
