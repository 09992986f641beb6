"""Decides about deployments: the sole owner of their state, with one thread that does their jobs.

Hosts' calls only create, start, withdraw, or ask. The next state is made durable before its job is done. One
deployment at a time holds the device. While it is staging its host holds a lease, renewed by every call;
a host that is silent for longer may be superseded, and its calls are refused afterwards: the deployment id
is the fencing token.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from edgectl_agent.core import lifecycle
from edgectl_agent.core.blobs import digest_of
from edgectl_agent.core.gates import check_runtimes, only_component
from edgectl_agent.core.installer import Installer
from edgectl_agent.core.journal import Record, check_id
from edgectl_agent.core.memory import give_back_memory
from edgectl_agent.core.occupancy import Occupancy
from edgectl_agent.core.register import Register
from edgectl_agent.core.releases import Links
from edgectl_agent.core.sessions import Sessions
from edgectl_agent.core.store import Store, parse_manifest
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.deployment import TERMINAL, Deployment, Failure, State
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import (
    BusyError,
    CancelledError,
    DeviceError,
    DiskFullError,
    EdgectlError,
    InternalError,
    StateError,
    UnreachableError,
    UsageError,
)

__all__ = ["Deployer"]

_LOG = logging.getLogger(__name__)


class Deployer:
    """One agent's deployments."""

    def __init__(
        self,
        register: Register,
        store: Store,
        installer: Installer,
        sessions: Sessions,
        occupancy: Occupancy,
        runtimes: Callable[[], tuple[RuntimeFacts, ...]],
        *,
        lease_s: float,
        staging_deadline_s: float,
        cancel_wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._register = register
        self._store = store
        self._installer = installer
        self._sessions = sessions
        self._occupancy = occupancy
        self._runtimes = runtimes
        self._lease_s = lease_s
        self._staging_deadline_s = staging_deadline_s
        self._cancel_wait_s = cancel_wait_s
        self._clock = clock
        self._heard_s = clock()
        self._restarted: set[str] = set()
        self._withdrawn: set[str] = set()
        self._thread = threading.Thread(target=self._work, name="deployer", daemon=True)

    # --- life ------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Answer for what an earlier agent left behind, then begin to work."""
        self._store.sweep()
        self._register.load()
        links = self._store.releases.links()
        unfinished = self._register.unfinished()
        if unfinished:
            self._occupancy.take(self._describe)
        for record in unfinished:
            self._restarted.add(record.deployment.id)
            self._move(record, lifecycle.Restarted(links.current), detail="the agent restarted")
        if links.current is not None and not self._is_spoken_for(links.current):
            self._adopt(links.current)
        self._heard_s = self._clock()
        self._thread.start()

    def close(self) -> None:
        """Stop working; an unfinished deployment goes on at the next start. Its worker was killed before."""
        self._register.close()
        if self._thread.is_alive():
            self._thread.join()

    # --- what hosts call -------------------------------------------------------------------------------

    def create(self, data: bytes, *, owner: str, deployment_id: str) -> Deployment:
        """Plan a release, or find the deployment that carries it already.

        Raises:
            BusyError: something else holds the device.
            BundleError: the manifest is not acceptable.
            RuntimeMissingError: the device cannot run it.
            DiskFullError: there is no room for it.
        """
        check_id(deployment_id, what="deployment id")
        manifest, release = parse_manifest(data), digest_of(data)
        component = only_component(manifest)
        found = self._find(deployment_id, release, manifest)
        if found is not None:
            return found
        check_runtimes(component, self._runtimes())
        with self._register.changed:
            # Another host may have come first while the runtimes were looked for.
            found = self._find(deployment_id, release, manifest)
            if found is not None:
                return found
            self.supersede_silent(by=owner)
            self._occupancy.take(self._describe)
            try:
                self._store.reserve(manifest, self._store.releases.links())
                self._store.blobs.add(data)
                record = self._register.add(
                    Deployment(deployment_id, release, manifest.name, State.PLANNED, owner, 0.0, 0.0),
                    f"{len(manifest.files)} files, {manifest.size_bytes:,} bytes",
                )
            except BaseException:
                self._occupancy.give_back()
                raise
            self._heard_s = self._clock()
            return self._move(record, lifecycle.Done()).deployment

    def attached(self, deployment_id: str) -> Deployment:
        """The deployment, unless it failed or was superseded; renews its lease.

        Raises:
            StateError: it did, or was.
        """
        with self._register.changed:
            deployment = self._register.get(deployment_id).deployment
            if deployment.state in TERMINAL and deployment.state is not State.COMMITTED:
                raise _refusal(deployment, "takes no calls")
            self._heard_s = self._clock()
        return deployment

    def staging(self, deployment_id: str) -> Deployment:
        """The deployment, if its host may send blobs now; renews its lease.

        Raises:
            StateError: it is past that, was superseded, or was withdrawn.
        """
        with self._register.changed:
            record = self._register.get(deployment_id)
            if record.deployment.state is not State.STAGING or record.started:
                raise _refusal(record.deployment, "takes no blobs")
            self._heard_s = self._clock()
        return record.deployment

    def start(self, deployment_id: str) -> Deployment:
        """Let a staged deployment go on by itself.

        Raises:
            StateError: blobs are missing, or the deployment failed.
        """
        with self._register.changed:
            record = self._register.get(deployment_id)
            deployment = record.deployment
            if deployment.state in TERMINAL and deployment.state is not State.COMMITTED:
                raise _refusal(deployment, "cannot be started")
            if deployment.state is not State.STAGING or record.started:
                return deployment
            missing = self._store.missing(self._store.manifest(deployment.release))
            if missing:
                raise StateError(
                    f"deployment {deployment_id} lacks {len(missing)} files, {missing[0].path} among them",
                    hint="send them first: edgectl deploy",
                )
            return self._register.mark_started(deployment_id).deployment

    def cancel(self, deployment_id: str) -> Deployment:
        """Withdraw a deployment that has not begun to activate.

        Raises:
            StateError: it has.
        """
        with self._register.changed:
            record = self._register.get(deployment_id)
            deployment = record.deployment
            if deployment.state is State.FAILED:
                return deployment
            if not lifecycle.may_be_cancelled(deployment.state):
                raise _refusal(deployment, "can no longer be cancelled", hint="edgectl rollback")
            if deployment.state is State.STAGING and not record.started:
                return self._move(record, _withdrawn(deployment)).deployment
            self._withdrawn.add(deployment_id)
            # Inside the lock: afterwards the worker may already be another one.
            self._sessions.kill(deployment.release)
            self._register.changed.wait_for(
                lambda: self._register.get(deployment_id).deployment.state in TERMINAL, self._cancel_wait_s
            )
            return self._register.get(deployment_id).deployment

    def rollback(self, *, owner: str) -> Deployment:
        """Put the previous release back, once it has run here for a few ticks; its deployment.

        Raises:
            StateError: there is none.
            EdgectlError: it does not run any more; nothing has changed.
        """
        self.supersede_silent(by=owner)
        self._occupancy.take(lambda: f"{owner} is rolling back")
        try:
            links = self._store.releases.links()
            if links.current is None or links.previous is None:
                raise StateError(
                    "there is no previous release on the device", hint="deploy the one you want: edgectl deploy"
                )
            self._installer.try_release(links.swapped())
            with self._register.changed:
                record = self._register.committed(links.current) or self._adopt(links.current)
                self._move(record, lifecycle.Undo(owner), restore=links.swapped())
        except BaseException:
            self._occupancy.give_back()
            raise
        return self._rolled_back(record.deployment.id, links.previous, owner)

    def get(self, deployment_id: str) -> Deployment:
        """One deployment.

        Raises:
            NotFoundError: there is none of this id.
        """
        return self._register.get(deployment_id).deployment

    def installed(self) -> tuple[list[Deployment], Links]:
        """All deployments, newest first, and what is installed."""
        with self._register.changed:
            records = self._register.newest_first()
            return [record.deployment for record in records], self._store.releases.links()

    def installed_now(self) -> Deployment | None:
        """The deployment of the installed release; None when nothing is installed."""
        with self._register.changed:
            current = self._store.releases.links().current
            if current is None:
                return None
            return (self._register.committed(current) or self._adopt(current)).deployment

    def supersede_silent(self, *, by: str) -> None:
        """End a staging deployment whose host lost its lease.

        Raises:
            BusyError: a deployment holds the device rightfully; says whose, and how far it is.
        """
        with self._register.changed:
            for record in self._register.unfinished():
                deployment = record.deployment
                silent_s = self._clock() - self._heard_s
                waits = deployment.state is State.STAGING and not record.started
                if not waits or silent_s <= self._lease_s:
                    left = f"; its lease ends in {self._lease_s - silent_s:.0f} s" if waits else ""
                    raise BusyError(
                        f"deployment {deployment.id} of {deployment.owner} holds the device, "
                        f"now {deployment.state.value}{left}",
                        hint="wait for it, or see what it does: edgectl status",
                    )
                why = f"superseded by {by} after {silent_s:.0f} s of silence"
                self._move(record, lifecycle.Failed(Failure(CancelledError.reason, why)))

    # --- the working thread ----------------------------------------------------------------------------

    def _work(self) -> None:
        while (record := self._next_work()) is not None:
            event = self._do_jobs(record)
            with self._register.changed:
                if self._register.closing:
                    return
                self._finish(record, event)
                rests = not self._register.unfinished()
            if rests:
                give_back_memory()

    def _next_work(self) -> Record | None:
        """The next deployment with something to do; None when the agent is stopping."""
        with self._register.changed:
            while not self._register.closing:
                waiting = None
                for record in self._register.unfinished():
                    if record.started or record.deployment.state is not State.STAGING:
                        return record
                    waiting = record
                if waiting is None:
                    self._register.changed.wait()
                    continue
                left_s = self._heard_s + self._staging_deadline_s - self._clock()
                if left_s > 0:
                    self._register.changed.wait(left_s)
                    continue
                why = f"its host was silent for {self._staging_deadline_s:.0f} s"
                self._move(waiting, lifecycle.Failed(Failure(CancelledError.reason, why)))
            return None

    def _do_jobs(self, record: Record) -> lifecycle.Event:
        deployment = record.deployment
        done = lifecycle.Done()
        try:
            restarted = deployment.id in self._restarted
            self._restarted.discard(deployment.id)
            for job in lifecycle.jobs_to_do(deployment.state, restarted=restarted):
                if deployment.id in self._withdrawn:
                    raise CancelledError(f"deployment {deployment.id} was withdrawn")
                done = self._installer.do(job, record)
        except EdgectlError as exc:
            failure = Failure(exc.reason, exc.message, exc.hint)
        except OSError as exc:
            failure = Failure(DeviceError.reason, f"the disk of the device failed: {exc}")
        except Exception as exc:  # noqa: BLE001 (the boundary of the thread: a deployment must come to rest)
            _LOG.exception("deployment %s, %s", deployment.id, deployment.state.value)
            failure = Failure(InternalError.reason, f"the agent has a defect: {type(exc).__name__}: {exc}")
        else:
            return done
        if not self._register.closing:
            self._sessions.end(deployment.release)
        return lifecycle.Failed(failure)

    def _finish(self, record: Record, event: lifecycle.Event) -> None:
        deployment = record.deployment
        if deployment.id in self._withdrawn and lifecycle.may_be_cancelled(deployment.state):
            event = _withdrawn(deployment)
            self._sessions.end(deployment.release)
        try:
            if isinstance(event, lifecycle.Done) and deployment.state is State.WAIT_WINDOW:
                links = self._store.releases.links()
                event = replace(event, previous=links.activated(deployment.release).previous)
                self._move(record, event, restore=links)
            else:
                self._move(record, event)
        except DiskFullError as exc:
            self._move(record, lifecycle.Failed(Failure(exc.reason, exc.message, exc.hint)))

    def _move(self, record: Record, event: lifecycle.Event, *, detail: str = "", **changes: Links) -> Record:
        """The only place where the state of a deployment changes."""
        if isinstance(event, lifecycle.Done):
            detail = detail or event.detail
        elif isinstance(event, lifecycle.Failed):
            detail = detail or event.failure.message
        with self._register.changed:
            moved = self._register.move(record.deployment.id, event, detail=detail, **changes)
            if moved.deployment.state in TERMINAL:
                self._rest(record.deployment.state, moved)
            return moved

    def _rest(self, came_from: State, record: Record) -> None:
        """Still inside the lock of `_move`: who sees that a deployment rests finds the device free."""
        self._withdrawn.discard(record.deployment.id)
        links = self._store.releases.links()
        try:
            # What was uploaded before a failure in staging is what the next attempt resumes from.
            if came_from not in (State.PLANNED, State.STAGING):
                self._store.collect(links)
            self._register.prune(links)
        except (OSError, EdgectlError) as exc:
            _LOG.error("after deployment %s something could not be removed: %s", record.deployment.id, exc)
        if not self._register.unfinished():
            self._occupancy.give_back()

    # --- small questions -------------------------------------------------------------------------------

    def _find(self, deployment_id: str, release: Digest, manifest: Manifest) -> Deployment | None:
        """The deployment that a host may go on with instead of a new one."""
        with self._register.changed:
            if self._register.has(deployment_id):
                known = self._register.get(deployment_id).deployment
                if known.release != release:
                    raise UsageError(f"deployment {deployment_id} is of release {known.release.short}")
                return known
            for record in self._register.unfinished():
                if record.deployment.release == release:
                    self._heard_s = self._clock()
                    return record.deployment
            committed = self._register.committed(release)
        if committed is None or self._store.releases.links().current != release:
            return None
        # "Already installed" is a claim about bytes, so they are read.
        if self._store.drop_altered(release, manifest) or not self._store.releases.whole(release, manifest):
            _LOG.warning("the installed release %s is altered on the disk; it is installed anew", release.short)
            return None
        return committed.deployment

    def _is_spoken_for(self, release: Digest) -> bool:
        unfinished = any(r.deployment.release == release for r in self._register.unfinished())
        return unfinished or self._register.committed(release) is not None

    def _adopt(self, release: Digest, *, owner: str = "agent") -> Record:
        """A record for a release that is installed although no record says so."""
        number = 1
        while self._register.has(adopted := f"restored-{release.short}-{number}"):
            number += 1
        last = self._register.last_of(release)
        if last is not None:
            deployment = replace(last.deployment, id=adopted, owner=owner, state=State.COMMITTED)
            deployment = replace(deployment, transitions=0, failure=None)
            return self._register.add(deployment, f"restored; {last.deployment.id} was rolled back")
        try:
            name = self._store.manifest(release).name
        except EdgectlError:
            name = "unknown"
        deployment = Deployment(adopted, release, name, State.COMMITTED, owner, 0.0, 0.0)
        return self._register.add(deployment, "found installed; its own record is gone")

    def _rolled_back(self, deployment_id: str, restored: Digest, owner: str) -> Deployment:
        with self._register.changed:
            self._register.changed.wait_for(
                lambda: self._register.closing or self._register.get(deployment_id).deployment.state in TERMINAL
            )
            deployment = self._register.get(deployment_id).deployment
            if deployment.state is State.INCONSISTENT and deployment.failure is not None:
                raise StateError(f"the links could not be changed: {deployment.failure.message}")
            if deployment.state is not State.ROLLED_BACK:
                raise UnreachableError("the agent is stopping", hint="the rollback goes on when it is back")
            return (self._register.committed(restored) or self._adopt(restored, owner=owner)).deployment

    def _describe(self) -> str:
        for record in self._register.unfinished():
            deployment = record.deployment
            return f"deployment {deployment.id} of {deployment.owner}, now {deployment.state.value}"
        return "a deployment is being planned"


def _withdrawn(deployment: Deployment) -> lifecycle.Failed:
    message = f"deployment {deployment.id} was withdrawn while {deployment.state.value}"
    return lifecycle.Failed(Failure(CancelledError.reason, message))


def _refusal(deployment: Deployment, what: str, *, hint: str = "edgectl deploy") -> StateError:
    why = f": {deployment.failure.message}" if deployment.failure else ""
    return StateError(f"deployment {deployment.id} {what}, it is {deployment.state.value}{why}", hint=hint)
