"""The state of every deployment, and the only place where it changes.

The next state is made durable before its job is done. One deployment at a time holds the device. Everything here is
done under the register's lock, so that who sees that a deployment rests finds the device free.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from edgectl_agent.core.deployments import lifecycle
from edgectl_agent.core.deployments.journal import Record
from edgectl_agent.core.deployments.lease import Lease
from edgectl_agent.core.deployments.register import Register
from edgectl_agent.core.device.occupancy import Occupancy
from edgectl_agent.core.store.releases import Links
from edgectl_agent.core.store.store import Store
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.deployment import TERMINAL, Deployment, Failure, State
from edgectl_protos.domain.errors import BusyError, CancelledError, EdgectlError

__all__ = ["Course"]

_LOG = logging.getLogger(__name__)

_ABANDONED_KEPT = 2


class Course:
    """Moves deployments from state to state.

    `withdrawn` are those whose host takes them back, `restarted` those that an earlier agent left unfinished.
    """

    def __init__(
        self, register: Register, store: Store, occupancy: Occupancy, lease: Lease, *, releases_kept: int
    ) -> None:
        self.register = register
        self.store = store
        self.occupancy = occupancy
        self.lease = lease
        self._releases_kept = releases_kept
        self.withdrawn: set[str] = set()
        self.restarted: set[str] = set()

    def open(self) -> None:
        """Answer for what an earlier agent left behind, as far as the disk lets it.

        Raises:
            DeviceError: the disk cannot say what is installed.
        """
        self.store.open()
        self.register.load()
        links = self.store.releases.links()
        unfinished = self.register.unfinished()
        if unfinished:
            self.occupancy.take(self.describe)
        for record in unfinished:
            self.restarted.add(record.deployment.id)
            self.move(record, lifecycle.Restarted(links.current), detail="the agent restarted")
        if links.current is not None and not self._is_spoken_for(links.current):
            self.adopt(links.current)
        self.lease.renew()

    def move(self, record: Record, event: lifecycle.Event, *, detail: str = "", **changes: Links) -> Record:
        """Let an event happen to a deployment."""
        if isinstance(event, lifecycle.Done):
            detail = detail or event.detail
        elif isinstance(event, lifecycle.Failed):
            detail = detail or event.failure.message
        with self.register.changed:
            moved = self.register.move(record.deployment.id, event, detail=detail, **changes)
            if moved.deployment.state in TERMINAL:
                self._rest(moved)
            return moved

    def _rest(self, record: Record) -> None:
        """Still inside the lock of `move`: who sees that a deployment rests finds the device free."""
        self.withdrawn.discard(record.deployment.id)
        try:
            self.store.uploads.close()
            links = self.store.releases.links()
            self.store.collect(links, self._newest(), self._abandoned())
            self.register.prune(links)
        except (OSError, EdgectlError) as exc:
            _LOG.error("after deployment %s something could not be removed: %s", record.deployment.id, exc)
        finally:
            if not self.register.unfinished():
                self.occupancy.give_back()

    def kept(self) -> tuple[Digest, ...]:
        """Releases that were proved here and are still on the disk, the newest first."""
        laid_out = self.store.releases.listing()
        return tuple(release for release in self._newest() if release in laid_out)

    def _newest(self) -> tuple[Digest, ...]:
        links = self.store.releases.links()
        linked = [release for release in (links.current, links.previous) if release is not None]
        proved = [
            record.deployment.release
            for record in self.register.newest_first()
            if record.deployment.state is State.COMMITTED
        ]
        newest = [*(release for release in linked if release in proved), *proved]
        return tuple(dict.fromkeys(newest))[: self._releases_kept]

    def _abandoned(self) -> tuple[Digest, ...]:
        """Releases whose installation failed since the last that succeeded: what of them is here, the next attempt
        resumes from. A host that never comes back must not fill the disk, so it is only the last ones.
        """
        found: dict[Digest, None] = {}
        for record in self.register.newest_first():
            if record.deployment.state is State.COMMITTED or len(found) == _ABANDONED_KEPT:
                break
            found[record.deployment.release] = None
        return tuple(found)

    def installed(self, release: Digest) -> Record:
        """The record that says this release is installed."""
        return self.register.committed(release) or self.adopt(release)

    def supersede_silent(self, *, by: str) -> None:
        """End a staging deployment whose host lost its lease.

        Raises:
            BusyError: a deployment holds the device rightfully; says whose, and how far it is.
        """
        with self.register.changed:
            for record in self.register.unfinished():
                deployment = record.deployment
                left_s, silent_s = self.lease.left_s, self.lease.silent_s
                waits = deployment.state is State.STAGING and not record.started
                if not waits or left_s >= 0:
                    left = f"; its lease ends in {left_s:.0f} s" if waits else ""
                    raise BusyError(
                        f"deployment {deployment.id} of {deployment.owner} holds the device, "
                        f"now {deployment.state.value}{left}",
                        hint="wait for it, or see what it does: edgectl status",
                    )
                why = f"superseded by {by} after {silent_s:.0f} s of silence"
                self.move(record, lifecycle.Failed(Failure(CancelledError.reason, why)))

    def adopt(self, release: Digest, *, owner: str = "agent") -> Record:
        """A record for a release that is installed although no record says so."""
        number = 1
        while self.register.has(adopted := f"restored-{release.short}-{number}"):
            number += 1
        last = self.register.last_of(release)
        if last is not None:
            deployment = replace(last.deployment, id=adopted, owner=owner, state=State.COMMITTED)
            deployment = replace(deployment, transitions=0, failure=None)
            return self.register.add(deployment, f"restored; {last.deployment.id} was rolled back", anyway=True)
        try:
            name = self.store.manifest(release).name
        except EdgectlError:
            name = "unknown"
        deployment = Deployment(adopted, release, name, State.COMMITTED, owner, 0.0, 0.0)
        return self.register.add(deployment, "found installed; its own record is gone", anyway=True)

    def describe(self) -> str:
        """Who holds the device, for whoever finds it busy."""
        for record in self.register.unfinished():
            deployment = record.deployment
            return f"deployment {deployment.id} of {deployment.owner}, now {deployment.state.value}"
        return "a deployment is being planned"

    def _is_spoken_for(self, release: Digest) -> bool:
        unfinished = any(r.deployment.release == release for r in self.register.unfinished())
        return unfinished or self.register.committed(release) is not None
