"""Events that no host has acknowledged: an append-only file of JSON lines, each synced as it is written.

A line is an event or `{"acknowledged": n}`. Sequence numbers grow for ever, across restarts. The file is
rewritten at start and when it has grown, then beginning with what was acknowledged last. Bounded: when hosts
stay away, the oldest events go.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from edgectl_agent.core.store.atomic import Disk
from edgectl_protos.codec.document import from_document, to_document
from edgectl_protos.domain.deployment import DeploymentEvent
from edgectl_protos.domain.errors import EdgectlError

__all__ = ["Outbox"]

_LOG = logging.getLogger(__name__)
_COMPACT_FACTOR = 2


class Outbox:
    """The events in order. The deployer owns it and calls it under its own lock."""

    def __init__(self, path: Path, disk: Disk, *, kept: int) -> None:
        self._path = path
        self._disk = disk
        self._kept = kept
        self._events: list[DeploymentEvent] = []
        self._acknowledged = 0
        self._last = 0
        self._lines = 0
        self._fd: int | None = None

    def open(self) -> None:
        """Read the file; what a power cut left of a last line is dropped."""
        lines = self._path.read_bytes().split(b"\n") if self._path.exists() else []
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            try:
                self._take(json.loads(line))
            except (ValueError, EdgectlError) as exc:
                _LOG.warning("line %d of the outbox is damaged and was dropped: %s", number, exc)
        self._compact()

    def close(self) -> None:
        """End the use of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @property
    def next_sequence(self) -> int:
        """The sequence number of the next event."""
        return self._last + 1

    def append(self, event: DeploymentEvent) -> None:
        """Make an event durable. It is told to hosts even if the disk refuses it."""
        self._events.append(event)
        self._last = max(self._last, event.sequence)
        self._write(to_document(event))
        self._compact_if_grown()

    def after(self, sequence: int, deployment_id: str) -> list[DeploymentEvent]:
        """Events of a deployment with a higher sequence number."""
        return [e for e in self._events if e.sequence > sequence and e.deployment_id == deployment_id]

    def acknowledge(self, up_to_sequence: int) -> None:
        """Forget events; a number that was never given out forgets no future ones."""
        up_to = min(up_to_sequence, self._last)
        if up_to <= self._acknowledged:
            return
        self._write({"acknowledged": up_to})
        self._forget(up_to)
        self._compact_if_grown()

    def _take(self, document: Any) -> None:
        up_to = document.get("acknowledged") if isinstance(document, dict) else None
        if isinstance(up_to, int):
            self._last = max(self._last, up_to)
            self._forget(up_to)
            return
        event = from_document(DeploymentEvent, document, what="event")
        self._events.append(event)
        self._last = max(self._last, event.sequence)

    def _forget(self, up_to: int) -> None:
        self._acknowledged = max(self._acknowledged, up_to)
        self._events = [event for event in self._events if event.sequence > up_to]

    def _write(self, document: Any) -> None:
        if self._fd is None:
            raise RuntimeError("the outbox is not open")
        # The newline leads, so that a line which a full disk cut short does not swallow the next one.
        self._disk.append(self._fd, b"\n" + json.dumps(document).encode(), self._path)
        self._lines += 1

    def _compact_if_grown(self) -> None:
        if self._lines > _COMPACT_FACTOR * self._kept:
            self._compact()

    def _compact(self) -> None:
        dropped = self._events[: -self._kept] if len(self._events) > self._kept else []
        if dropped:
            _LOG.warning("%d events that no host has fetched were dropped", len(dropped))
            self._forget(dropped[-1].sequence)
        documents: list[Any] = [{"acknowledged": self._acknowledged}]
        documents += [to_document(event) for event in self._events]
        self.close()
        # When every event is acknowledged, the number alone carries the sequence on.
        text = "".join(json.dumps(document) + "\n" for document in documents)
        self._disk.write(self._path, text.encode())
        self._lines = len(documents)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
