"""The journal: one JSON document for each deployment, replaced atomically before the deployer acts.

A record holds the deployment, the event of its last transition (so that an event lost between the two writes
can be told again), whether its host said "start", and which links an undo restores. A document that cannot
be read is set aside and reported; it never stops the agent.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, replace
from typing import Any

from edgectl_agent.core.names import check_id
from edgectl_agent.core.store.atomic import Disk, read_file
from edgectl_agent.core.store.layout import Layout
from edgectl_agent.core.store.releases import Links
from edgectl_protos.codec.document import canonical_bytes, carried_over, from_bytes, to_document
from edgectl_protos.domain.deployment import Deployment, DeploymentEvent
from edgectl_protos.domain.errors import EdgectlError, UsageError
from edgectl_protos.domain.newer import is_newer

__all__ = ["Journal", "Record"]

_LOG = logging.getLogger(__name__)

_MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """What the agent remembers of one deployment."""

    deployment: Deployment
    event: DeploymentEvent
    started: bool = False
    restore: Links = field(default_factory=Links)


class Journal:
    """The documents of all deployments."""

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._folder = layout.deployments
        self._damaged = layout.damaged
        self._disk = disk
        self._newer: dict[str, Any] = {}
        """Documents with keys of a newer agent: kept, so that it finds them again."""

    def load(self) -> list[Record]:
        """All records, oldest first; damaged documents are moved to `damaged/`. One whose state only a newer agent
        knows stays as it is, for that one.
        """
        self._disk.sweep(self._folder)
        records = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                data = read_file(path, limit_bytes=_MAX_BYTES)
                record = from_bytes(Record, data, what=path.name, lenient=True)
                if f"{check_id(record.deployment.id, what='deployment id')}.json" != path.name:
                    raise UsageError(f"it is about deployment {record.deployment.id}")
                # A newer agent may say new words, but no number that cannot be told.
                replace(record.deployment)
            except EdgectlError as exc:
                self._disk.set_aside(path, self._damaged, exc)
            except OSError as exc:
                # A disk that cannot read it now may read it after the next start.
                _LOG.error("journal document %s cannot be read: %s", path.name, exc)
            else:
                if is_newer(record.deployment.state):
                    _LOG.warning("%s is of a newer agent, and stays as it is", path.name)
                    continue
                records.append(record)
                if carried_over(document := json.loads(data), to_document(record)) != to_document(record):
                    self._newer[record.deployment.id] = document
        return sorted(records, key=lambda record: (record.deployment.created_s, record.event.sequence))

    def save(self, record: Record) -> None:
        """Make a record durable."""
        document = carried_over(self._newer.get(record.deployment.id), to_document(record))
        self._disk.write(self._folder / f"{record.deployment.id}.json", canonical_bytes(document))

    def forget(self, deployment_id: str) -> None:
        """Remove a record."""
        self._newer.pop(deployment_id, None)
        self._disk.remove(self._folder / f"{deployment_id}.json")
