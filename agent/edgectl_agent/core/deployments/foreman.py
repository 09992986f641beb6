"""The one thread that does the jobs of deployments, one after the other.

It decides nothing about states: what a job came to is an event, which moves the deployment. Nothing ends the thread but
the end of the agent: whatever a job, the disk or a defect does, the deployment goes its way back and rests.
"""

from __future__ import annotations

import threading
from dataclasses import replace

from edgectl_agent.core.deployments import lifecycle
from edgectl_agent.core.deployments.course import Course
from edgectl_agent.core.deployments.installer import Installer
from edgectl_agent.core.deployments.journal import Record
from edgectl_agent.core.device.memory import give_back_memory
from edgectl_agent.core.failures import as_ours
from edgectl_agent.core.workers.sessions import Sessions
from edgectl_protos.domain.deployment import Failure, State
from edgectl_protos.domain.errors import CancelledError

__all__ = ["Foreman"]


class Foreman:
    """Does jobs until the register closes."""

    def __init__(self, course: Course, installer: Installer, sessions: Sessions) -> None:
        self._course = course
        self._register = course.register
        self._store = course.store
        self._lease = course.lease
        self._installer = installer
        self._sessions = sessions
        self._thread = threading.Thread(target=self._work, name="deployer", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def join(self) -> None:
        """Wait for its end, if it was started."""
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while (record := self._next_work()) is not None:
            event = self._do_jobs(record)
            with self._register.changed:
                if self._register.closing:
                    return
                try:
                    self._finish(record, event)
                except Exception as exc:  # noqa: BLE001 (the boundary of the thread: a deployment must come to rest)
                    self._course.move(self._register.get(record.deployment.id), _failed(record, exc))
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
                left_s = self._lease.deadline_left_s
                if left_s > 0:
                    self._register.changed.wait(left_s)
                    continue
                why = f"its host was silent for {self._lease.deadline_s:.0f} s"
                self._course.move(waiting, lifecycle.Failed(Failure(CancelledError.reason, why)))
            return None

    def _do_jobs(self, record: Record) -> lifecycle.Event:
        deployment = record.deployment
        done = lifecycle.Done()
        try:
            restarted = deployment.id in self._course.restarted
            self._course.restarted.discard(deployment.id)
            for job in lifecycle.jobs_to_do(deployment.state, restarted=restarted):
                if deployment.id in self._course.withdrawn:
                    raise CancelledError(f"deployment {deployment.id} was withdrawn")
                done = self._installer.do(job, record)
        except Exception as exc:  # noqa: BLE001 (the boundary of the thread: a deployment must come to rest)
            failed = _failed(record, exc)
        else:
            return done
        if not self._register.closing:
            self._sessions.end(deployment.release)
        return failed

    def _finish(self, record: Record, event: lifecycle.Event) -> None:
        deployment = record.deployment
        if deployment.id in self._course.withdrawn and lifecycle.may_be_cancelled(deployment.state):
            event = lifecycle.withdrawn(deployment)
            self._sessions.end(deployment.release)
        if isinstance(event, lifecycle.Done) and deployment.state is State.WAIT_WINDOW:
            links = self._store.releases.links()
            event = replace(event, previous=links.activated(deployment.release).previous)
            self._course.move(record, event, restore=links)
        else:
            self._course.move(record, event)


def _failed(record: Record, error: Exception) -> lifecycle.Failed:
    """The way back, for this reason."""
    return lifecycle.Failed(Failure.of(as_ours(error, f"deployment {record.deployment.id}")))
