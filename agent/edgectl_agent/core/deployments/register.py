"""What is known of all deployments, on disk and in memory, and who waits for news of them.

The deployer alone changes it. Order of a change: journal, synced → outbox, synced → memory → waiters. An event
that a crash kept out of the outbox is told again at the next start, from the journal. A step forward that cannot be
made durable is refused; a way back always comes to its end in memory, whatever the disk says.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from edgectl_agent.core.deployments import lifecycle
from edgectl_agent.core.deployments.journal import Journal, Record
from edgectl_agent.core.deployments.outbox import Outbox
from edgectl_agent.core.store.releases import Links
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.deployment import TERMINAL, Deployment, DeploymentEvent, State
from edgectl_protos.domain.errors import DeviceError, NotFoundError, UnreachableError

__all__ = ["Register"]

_LOG = logging.getLogger(__name__)


class Register:
    """All deployments. `changed` guards it, and is notified of every change."""

    def __init__(self, journal: Journal, outbox: Outbox, *, kept: int, now: Callable[[], float] = time.time) -> None:
        self._journal = journal
        self._outbox = outbox
        self._kept = kept
        self._now = now
        self._records: dict[str, Record] = {}
        self._unsaved: set[str] = set()
        self._closing = False
        self.changed = threading.Condition()

    def load(self) -> None:
        """Read what an earlier agent knew."""
        with self.changed:
            self._outbox.open()
            for record in self._journal.load():
                self._records[record.deployment.id] = record
            lost = [r.event for r in self._records.values() if r.event.sequence >= self._outbox.next_sequence]
            for event in sorted(lost, key=lambda event: event.sequence):
                self._outbox.append(event)

    def close(self) -> None:
        """Let everybody who waits go."""
        with self.changed:
            self._save_late()
            self._closing = True
            self._outbox.close()
            self.changed.notify_all()

    @property
    def closing(self) -> bool:
        """Whether the agent is stopping."""
        return self._closing

    def get(self, deployment_id: str) -> Record:
        """One record.

        Raises:
            NotFoundError: there is none of this id.
        """
        record = self._records.get(deployment_id)
        if record is None:
            raise NotFoundError(
                f"the device remembers no deployment {deployment_id!r}", hint="what it has: edgectl status"
            )
        return record

    def has(self, deployment_id: str) -> bool:
        """Whether there is a record of this id."""
        return deployment_id in self._records

    def newest_first(self) -> list[Record]:
        """All records."""
        return list(reversed(self._records.values()))

    def unfinished(self) -> list[Record]:
        """Records of deployments that do not rest, oldest first. There is at most one, but for a damaged disk."""
        # Copied first: whoever describes the device's holder asks without the lock.
        return [r for r in list(self._records.values()) if r.deployment.state not in TERMINAL]

    def committed(self, release: Digest) -> Record | None:
        """The newest record that says this release is installed."""
        for record in self.newest_first():
            if record.deployment.release == release and record.deployment.state is State.COMMITTED:
                return record
        return None

    def add(self, deployment: Deployment, detail: str, *, anyway: bool = False) -> Record:
        """Begin a deployment; its times are set here. `anyway`: also when the disk refuses it, for what it says is so.

        Raises:
            DeviceError: the disk refused it; nothing has changed.
        """
        now_s = self._now()
        deployment = replace(deployment, created_s=now_s, changed_s=now_s)
        placeholder = DeploymentEvent(0, deployment.id, deployment.state, now_s)
        with self.changed:
            return self._tell(Record(deployment, placeholder), detail, anyway=anyway)

    def last_of(self, release: Digest) -> Record | None:
        """The newest record of a release, in whatever state."""
        return next((r for r in self.newest_first() if r.deployment.release == release), None)

    def move(self, deployment_id: str, event: lifecycle.Event, *, detail: str = "", **changes: Any) -> Record:
        """Let an event happen to a deployment.

        Raises:
            DeviceError: the disk refused the next state; nothing has changed. Never for a way back.
        """
        with self.changed:
            record = self.get(deployment_id)
            way_back = isinstance(event, (lifecycle.Failed, lifecycle.Restarted))
            way_back = way_back or record.deployment.state is State.ROLLING_BACK
            deployment = lifecycle.after(record.deployment, event, now_s=self._now())
            return self._tell(replace(record, deployment=deployment, **changes), detail, anyway=way_back)

    def note(self, deployment_id: str, detail: str) -> None:
        """Tell how far a deployment is inside its state. What cannot be written is not told."""
        with self.changed:
            if self._closing:
                return
            deployment = self.get(deployment_id).deployment
            event = DeploymentEvent(self._outbox.next_sequence, deployment_id, deployment.state, self._now(), detail)
            self._outbox.append(event)
            self.changed.notify_all()
        _LOG.info("deployment %s: %s", deployment_id, detail)

    def mark_started(self, deployment_id: str) -> Record:
        """Remember that the host has said start."""
        with self.changed:
            record = replace(self.get(deployment_id), started=True)
            self._journal.save(record)
            self._records[deployment_id] = record
            self.changed.notify_all()
            return record

    def prune(self, links: Links) -> None:
        """Forget all but the last deployments and those that are installed."""
        with self.changed:
            for record in self.newest_first()[self._kept :]:
                deployment = record.deployment
                if deployment.state in TERMINAL and deployment.release not in (links.current, links.previous):
                    self._journal.forget(deployment.id)
                    del self._records[deployment.id]

    def watch(self, deployment_id: str, *, after_sequence: int, live: Callable[[], bool]) -> Iterator[DeploymentEvent]:
        """Events of a deployment until it rests. When `live` turns false, notify `changed`.

        Raises:
            UnreachableError: the agent is stopping; ask again when it is back.
        """
        sequence = after_sequence
        while True:
            with self.changed:
                while True:
                    resting = self.get(deployment_id).deployment.state in TERMINAL
                    events = self._outbox.after(sequence, deployment_id)
                    if events or resting or self._closing or not live():
                        break
                    self.changed.wait()
            for event in events:
                yield event
                sequence = event.sequence
            if not events and self._closing and not resting:
                raise UnreachableError("the agent is stopping", hint="the deployment goes on when it is back")
            if not events or not live():
                return

    def wake(self) -> None:
        """Let watchers look whether they are still wanted."""
        with self.changed:
            self.changed.notify_all()

    def acknowledge(self, deployment_id: str, up_to_sequence: int) -> None:
        """Forget events of a deployment that its host has seen."""
        with self.changed:
            self._outbox.acknowledge(deployment_id, up_to_sequence)

    def _tell(self, record: Record, detail: str, *, anyway: bool) -> Record:
        if self._closing:
            raise UnreachableError("the agent is stopping", hint="start it again: edgectl-agent run")
        deployment = record.deployment
        event = DeploymentEvent(
            sequence=self._outbox.next_sequence,
            deployment_id=deployment.id,
            state=deployment.state,
            at_s=deployment.changed_s,
            detail=detail,
            failure=deployment.failure,
        )
        record = replace(record, event=event)
        try:
            self._journal.save(record)
        except DeviceError as exc:
            if not anyway:
                raise
            # A restart would find the state before, and might go forward from it.
            self._unsaved.add(deployment.id)
            _LOG.error("deployment %s: %s", deployment.id, exc.message)
        else:
            self._unsaved.discard(deployment.id)
            self._save_late()
        self._records[deployment.id] = record
        self._outbox.append(event)
        self.changed.notify_all()
        _LOG.info("deployment %s: %s %s", deployment.id, deployment.state.value, detail)
        return record

    def _save_late(self) -> None:
        """Make durable what the disk refused before."""
        for deployment_id in list(self._unsaved):
            record = self._records.get(deployment_id)
            try:
                if record is not None:
                    self._journal.save(record)
            except DeviceError as exc:
                _LOG.error("deployment %s is not in the journal as it stands: %s", deployment_id, exc.message)
                return
            self._unsaved.discard(deployment_id)
