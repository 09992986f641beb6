"""What hosts ask of deployments: they create, start, withdraw, or ask; nothing else.

While a deployment is staging its host holds a lease, renewed by every call; a host that is silent for longer may be
superseded, and its calls are refused afterwards: the deployment id is the fencing token.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgectl_agent.core.deployments import lifecycle
from edgectl_agent.core.deployments.course import Course
from edgectl_agent.core.deployments.foreman import Foreman
from edgectl_agent.core.deployments.gates import check_loop, check_recipes, check_runtimes
from edgectl_agent.core.deployments.installer import Installer
from edgectl_agent.core.names import check_id, check_label
from edgectl_agent.core.store.blobs import digest_of
from edgectl_agent.core.store.releases import Links
from edgectl_agent.core.store.store import parse_manifest
from edgectl_agent.core.workers.builds import Builds
from edgectl_agent.core.workers.sessions import Sessions
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.deployment import TERMINAL, Deployment, State
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import StateError, UnreachableError, UsageError

__all__ = ["Deployer", "Installed"]

_LOG = logging.getLogger(__name__)
_KILL_AGAIN_S = 0.05


@dataclass(frozen=True, slots=True)
class Installed:
    """All deployments, newest first; what is installed; the releases that a run may name; and what is wrong with
    releases that should be here, by release.
    """

    deployments: tuple[Deployment, ...]
    links: Links
    kept: tuple[Digest, ...]
    problems: dict[Digest, str]


class Deployer:
    """One agent's deployments."""

    def __init__(
        self,
        course: Course,
        installer: Installer,
        sessions: Sessions,
        builds: Builds,
        runtimes: Callable[[], tuple[RuntimeFacts, ...]],
        *,
        cancel_wait_s: float,
    ) -> None:
        self._course = course
        self._register = course.register
        self._store = course.store
        self._occupancy = course.occupancy
        self._installer = installer
        self._sessions = sessions
        self._builds = builds
        self._runtimes = runtimes
        self._cancel_wait_s = cancel_wait_s
        self._foreman = Foreman(course, installer, sessions)

    def open(self) -> None:
        """Answer for what an earlier agent left behind, then begin to work."""
        self._course.open()
        self._foreman.start()

    def stop(self) -> None:
        """Begin nothing more. Before workers are killed, so that an unfinished deployment does not fail by it: it goes
        on at the next start.
        """
        self._register.close()

    def close(self) -> None:
        """After `stop`, once its worker is killed."""
        self._foreman.join()

    def create(self, data: bytes, *, owner: str, deployment_id: str) -> Deployment:
        """Plan a release, or find the deployment that carries it already.

        Raises:
            BusyError: something else holds the device.
            BundleError: the manifest is not acceptable.
            LoopSpecError: the loop is known here already, and does not fit the policy.
            RuntimeMissingError: the device cannot run or build it.
            DiskFullError: there is no room for it.
            DeviceError: the disk failed.
        """
        check_id(deployment_id, what="deployment id")
        check_label(owner, what="an owner")
        manifest, release = parse_manifest(data), digest_of(data)
        found = self._find(deployment_id, release, manifest)
        if found is not None:
            return found
        check_recipes(manifest.components)
        if self._store.blobs.intact(manifest.file(manifest.loop).digest):
            check_loop(manifest, self._store.loop(manifest))
        check_runtimes(manifest.components, self._runtimes())
        # What is damaged here is missing, and sent again.
        self._store.drop_altered(release, manifest)
        with self._register.changed:
            # Another host may have come first while the runtimes were looked for. No worker is asked under the lock:
            # what another one built meanwhile is found by the build.
            found = self._find(deployment_id, release, manifest, ask=False)
            if found is not None:
                return found
            self._course.supersede_silent(by=owner)
            self._occupancy.take(self._course.describe)
            try:
                self._store.reserve(release, manifest, self._store.releases.links())
                self._store.blobs.add(data)
                record = self._register.add(
                    Deployment(deployment_id, release, manifest.name, State.PLANNED, owner, 0.0, 0.0),
                    f"{len(manifest.files)} files, {manifest.size_bytes:,} bytes",
                )
            except BaseException:
                self._occupancy.give_back()
                raise
            self._course.lease.renew()
            return self._course.move(record, lifecycle.Done()).deployment

    def attached(self, deployment_id: str) -> Deployment:
        """The deployment, unless it failed or was superseded; renews its lease.

        Raises:
            StateError: it did, or was.
        """
        with self._register.changed:
            deployment = self._register.get(deployment_id).deployment
            if deployment.state in TERMINAL and deployment.state is not State.COMMITTED:
                raise _refusal(deployment, "takes no calls")
            self._course.lease.renew()
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
            self._course.lease.renew()
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
                return self._course.move(record, lifecycle.withdrawn(deployment)).deployment
            self._course.withdrawn.add(deployment_id)
            ends_s = time.monotonic() + self._cancel_wait_s
            while (found := self._register.get(deployment_id).deployment).state not in TERMINAL:
                if time.monotonic() > ends_s:
                    break
                # Again and again, since its worker may only be about to start; inside the lock, since afterwards the
                # worker may be another one's.
                self._sessions.kill(deployment.release)
                self._register.changed.wait(_KILL_AGAIN_S)
            return found

    def rollback(self, *, owner: str, admit: Callable[[Digest], None]) -> Deployment:
        """Put the previous release back, once it has run here for a few ticks; its deployment. `admit` may refuse it,
        and is asked while nobody can make another release the previous one.

        Raises:
            StateError: there is none.
            EdgectlError: it does not run any more; nothing has changed.
        """
        check_label(owner, what="an owner")
        self._course.supersede_silent(by=owner)
        self._occupancy.take(lambda: f"{owner} is rolling back")
        try:
            links = self._store.releases.links()
            if links.current is None or links.previous is None:
                raise StateError(
                    "there is no previous release on the device", hint="deploy the one you want: edgectl deploy"
                )
            admit(links.previous)
            self._installer.try_release(links.swapped())
            with self._register.changed:
                record = self._course.installed(links.current)
                self._course.move(record, lifecycle.Undo(owner), restore=links.swapped())
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

    def installed(self) -> Installed:
        """What is known of the device's releases.

        Raises:
            DeviceError: the disk cannot tell.
        """
        with self._register.changed:
            records = self._register.newest_first()
            links, kept = self._store.releases.links(), self._course.kept()
        # Not under the lock, for the installed one is read, unless it was read since the agent started. Not beside a
        # measurement.
        read = links.current if self._occupancy.is_free else None
        named = [release for release in (links.current, links.previous, *kept) if release is not None]
        problems = {release: self._store.problem(release, read=release == read) for release in dict.fromkeys(named)}
        return Installed(
            tuple(record.deployment for record in records),
            links,
            tuple(release for release in kept if not problems[release]),
            {release: problem for release, problem in problems.items() if problem},
        )

    def installed_now(self) -> Deployment | None:
        """The deployment of the installed release; None when nothing is installed."""
        with self._register.changed:
            current = self._store.releases.links().current
            if current is None:
                return None
            return self._course.installed(current).deployment

    def kept(self, release: Digest) -> Deployment:
        """The deployment that proved a release which is still here.

        Raises:
            StateError: it is not.
        """
        with self._register.changed:
            record = self._register.committed(release) if release in self._course.kept() else None
        if record is None:
            raise StateError(
                f"the device does not keep release {release.short}", hint="deploy it again: edgectl deploy"
            )
        return record.deployment

    def supersede_silent(self, *, by: str) -> None:
        """End a staging deployment whose host lost its lease.

        Raises:
            BusyError: a deployment holds the device rightfully; says whose, and how far it is.
        """
        self._course.supersede_silent(by=by)

    def _find(self, deployment_id: str, release: Digest, manifest: Manifest, *, ask: bool = True) -> Deployment | None:
        """The deployment that a host may go on with instead of a new one. `ask`: workers may be asked whether what this
        device must build is built; else it is taken not to be.
        """
        with self._register.changed:
            if self._register.has(deployment_id):
                known = self._register.get(deployment_id).deployment
                if known.release != release:
                    raise UsageError(f"deployment {deployment_id} is of release {known.release.short}")
                return known
            for record in self._register.unfinished():
                if record.deployment.release == release:
                    self._course.lease.renew()
                    return record.deployment
            committed = self._register.committed(release)
        if committed is None or self._store.releases.links().current != release:
            return None
        # "Already installed" is a claim about bytes, so they are read.
        if self._store.drop_altered(release, manifest) or not self._store.releases.whole(release, manifest):
            _LOG.warning("the installed release %s is altered on the disk; it is installed anew", release.short)
            return None
        unbuilt = any(component.recipe is not None for component in manifest.components)
        if unbuilt and not (ask and self._builds.have(manifest)):
            _LOG.warning("the installed release %s is not built for this device as it is now", release.short)
            return None
        return committed.deployment

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
            return (self._register.committed(restored) or self._course.adopt(restored, owner=owner)).deployment


def _refusal(deployment: Deployment, what: str, *, hint: str = "edgectl deploy") -> StateError:
    why = f": {deployment.failure.message}" if deployment.failure else ""
    return StateError(f"deployment {deployment.id} {what}, it is {deployment.state.value}{why}", hint=hint)
