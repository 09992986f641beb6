"""Runs: one at a time, each in the worker of its release, remembered by id.

A run is of the installed release unless it names another one that the device keeps. Workers of named releases stay
loaded, so that blocks of several can be interleaved in one warm state; a run that names none ends all but its own.

A run goes on whether anybody watches it or not. Order: its record, synced → the run → samples (by the worker, in its
own folder) → its end, synced → the last event. While it measures, nothing here wakes up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

from edgectl_agent.core.deployments.deployer import Deployer
from edgectl_agent.core.deployments.gates import check_loop
from edgectl_agent.core.device.facts import Facts
from edgectl_agent.core.device.occupancy import Occupancy
from edgectl_agent.core.failures import as_ours
from edgectl_agent.core.names import check_id, check_label
from edgectl_agent.core.runs.active import ActiveRun
from edgectl_agent.core.runs.records import RunRecords
from edgectl_agent.core.store.store import Store
from edgectl_agent.core.workers.sessions import Sessions
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.errors import (
    CancelledError,
    DeviceError,
    EdgectlError,
    NotFoundError,
    StateError,
    UnreachableError,
    UsageError,
)
from edgectl_protos.domain.loop import LoopOverrides, check_fits
from edgectl_protos.domain.run import Run, RunEvent, RunPhase
from edgectl_protos.worker import messages

__all__ = ["Runs"]

_LOG = logging.getLogger(__name__)
_KILL_AGAIN_S = 0.05


class Runs:
    """The runs of one agent."""

    def __init__(
        self,
        records: RunRecords,
        store: Store,
        sessions: Sessions,
        deployer: Deployer,
        occupancy: Occupancy,
        facts: Facts,
        *,
        margin_s: float,
        cancel_wait_s: float,
    ) -> None:
        self._records = records
        self._store = store
        self._sessions = sessions
        self._deployer = deployer
        self._occupancy = occupancy
        self._facts = facts
        self._margin_s = margin_s
        self._cancel_wait_s = cancel_wait_s
        self._lock = threading.Lock()
        self._last: ActiveRun | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    def open(self) -> None:
        """Answer for what an earlier agent left behind."""
        self._records.open()

    def close(self) -> None:
        """End the run in progress. Its worker was killed before."""
        # Under the lock: a run that is just beginning has its thread, or is refused.
        with self._lock:
            self._closing = True
            thread = self._thread
        if thread is not None:
            thread.join()

    def create(self, run_id: str, overrides: LoopOverrides, release: Digest | None, *, owner: str, part_of: str) -> Run:
        """Begin a run, or find the one of this id.

        Raises:
            StateError: nothing is installed, or the release that it names is not kept here.
            BusyError: something else holds the device.
            UsageError: a run of this id is of another release.
        """
        check_id(run_id, what="run id")
        check_label(owner, what="an owner")
        check_label(part_of, what="what a run is part of")
        with self._lock:
            known = self._find(run_id)
            if known is None:
                return self._start(run_id, overrides, release, owner, part_of).run
        if release is not None and known.release != release:
            raise UsageError(f"run {run_id} is of release {known.release.short}")
        return known

    def watch(self, run_id: str, *, after_sequence: int, live: Callable[[], bool]) -> Iterator[RunEvent]:
        """Events of a run until it is over. When `live` turns false, `wake` it.

        Raises:
            NotFoundError: there is no run of this id.
        """
        check_id(run_id, what="run id")
        active = self._last
        if active is not None and active.run.run_id == run_id:
            yield from active.watch(after_sequence, live)
            return
        remembered = self._records.find(run_id)
        if remembered is None:
            raise _unknown(run_id)
        if remembered.last is not None and remembered.last.sequence > after_sequence:
            yield remembered.last

    def wake(self) -> None:
        """Let those who watch look whether they are still wanted."""
        active = self._last
        if active is not None:
            active.wake()

    def cancel(self, run_id: str) -> Run:
        """End a run; the run as it ended.

        Raises:
            NotFoundError: there is no run of this id.
        """
        check_id(run_id, what="run id")
        active = self._last
        if active is not None and active.run.run_id == run_id:
            ends_s = time.monotonic() + self._cancel_wait_s
            while not active.is_over and time.monotonic() < ends_s:
                if not active.withdraw():
                    # Its worker may be loading, or only be about to start.
                    self._sessions.kill(active.run.release)
                active.wait(_KILL_AGAIN_S)
        found = self._find(run_id)
        if found is None:
            raise _unknown(run_id)
        return found

    def newest_first(self) -> list[Run]:
        """All runs that are remembered."""
        active = self._last
        found = [remembered.run for remembered in self._records.newest_first()]
        if active is None:
            return found
        # Memory knows more than the disk, which may have refused.
        return [active.run, *(run for run in found if run.run_id != active.run.run_id)]

    def samples(self, run_id: str, offset: int) -> Iterator[bytes]:
        """The samples of a finished run, in pieces.

        Raises:
            NotFoundError: there are none of this id.
        """
        return self._records.samples(run_id, offset)

    def _find(self, run_id: str) -> Run | None:
        active = self._last
        if active is not None and active.run.run_id == run_id:
            return active.run
        remembered = self._records.find(run_id)
        return remembered.run if remembered is not None else None

    def _start(
        self, run_id: str, overrides: LoopOverrides, release: Digest | None, owner: str, part_of: str
    ) -> ActiveRun:
        if self._closing:
            raise UnreachableError("the agent is stopping", hint="start it again: edgectl-agent run")
        self._deployer.supersede_silent(by=f"run {run_id}")
        deployment = self._deployer.installed_now() if release is None else self._deployer.kept(release)
        if deployment is None:
            raise StateError("nothing is installed on the device", hint="deploy first: edgectl deploy")
        run = Run(
            run_id,
            deployment.id,
            deployment.release,
            deployment.name,
            owner,
            part_of,
            RunPhase.LOADING,
            time.time(),
        )
        active = ActiveRun(run)
        self._occupancy.take(lambda: f"run {run_id} of {owner} is {active.run.phase.value}")
        try:
            self._records.begin(run)
        except BaseException:
            self._occupancy.give_back()
            raise
        self._last = active
        if release is None:
            self._sessions.end_others(deployment.release)
        self._thread = threading.Thread(target=self._work, args=(active, overrides), name="run", daemon=True)
        self._thread.start()
        return active

    def _work(self, active: ActiveRun, overrides: LoopOverrides) -> None:
        run = active.run
        try:
            event = self._measure(active, overrides)
        except Exception as exc:  # noqa: BLE001 (the boundary of the thread: a run must come to its end)
            failure = self._told(active, Failure.of(as_ours(exc, f"run {run.run_id}")))
            event = RunEvent(run.run_id, RunPhase.FAILED, failure=failure)
        event = active.numbered(event)
        try:
            self._records.end(run, event)
        except EdgectlError as exc:
            # It is told all the same, and remembered until the next one or a restart.
            _LOG.error("the end of run %s cannot be written: %s", run.run_id, exc)
        # In this order, so that who sees the end of the run finds the device free.
        self._occupancy.give_back()
        active.tell(event)

    def _told(self, active: ActiveRun, failure: Failure) -> Failure:
        """Why a run ended, where somebody ended it."""
        if active.is_withdrawn:
            return Failure(CancelledError.reason, f"run {active.run.run_id} was withdrawn")
        if self._closing:
            return Failure(DeviceError.reason, f"the agent stopped while run {active.run.run_id} was going")
        return failure

    def _measure(self, active: ActiveRun, overrides: LoopOverrides) -> RunEvent:
        run = active.run
        manifest = self._store.manifest(run.release)
        spec = overrides.apply(check_loop(manifest, self._store.loop(manifest)))
        check_fits(spec, manifest.policy)
        facts = self._facts.get(refresh=True)
        worker = self._sessions.ready(run.release, manifest)
        active.hold(worker)
        written = self._sessions.written(run.release, f"{run.run_id}.npz")
        request = messages.Run(
            run_id=run.run_id,
            deployment_id=run.deployment_id,
            overrides=overrides,
            facts=facts,
            spool_path=str(written),
        )
        try:
            reply = worker.ask(
                request,
                messages.RunReply,
                timeout_s=spec.measure_s + self._margin_s,
                on_progress=lambda told: active.progress(told.phase, told.progress),
            )
        except EdgectlError:
            # What the failure left of it, such as half a reload, is nothing to measure with.
            self._sessions.end(run.release)
            raise
        self._records.take_samples(run.run_id, written)
        return RunEvent(run.run_id, RunPhase.DONE, 1.0, reply.summary)


def _unknown(run_id: str) -> NotFoundError:
    return NotFoundError(f"the device remembers no run {run_id!r}", hint="those that it has: edgectl runs --fleet NAME")
