"""Runs: one at a time, each in the worker of its release, remembered by id.

A run is of the installed release unless it names another one that the device keeps. Workers of named releases stay
loaded, so that blocks of several can be interleaved in one warm state; a run that names none ends all but its own.

A run outlives the call that asked for it only while another call is attached to it: when the last one is
gone, the run is ended, and its worker with it. Order at the end: samples (by the worker, in its own folder) → outcome,
synced → the last event. While a run measures, nothing here wakes up.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from edgectl_agent.core.deployments.deployer import Deployer
from edgectl_agent.core.deployments.gates import check_loop
from edgectl_agent.core.deployments.journal import check_id
from edgectl_agent.core.device.facts import Facts
from edgectl_agent.core.device.occupancy import Occupancy
from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.store.layout import Layout
from edgectl_agent.core.store.store import Store
from edgectl_agent.core.workers.sessions import Sessions
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.deployment import Deployment, Failure
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    CancelledError,
    DeviceError,
    EdgectlError,
    InternalError,
    NotFoundError,
    StateError,
    UnreachableError,
    UsageError,
)
from edgectl_protos.domain.loop import LoopOverrides, check_fits
from edgectl_protos.domain.run import RunEvent, RunPhase
from edgectl_protos.worker import messages
from edgectl_protos.worker.process import WorkerProcess

__all__ = ["Runs"]

_LOG = logging.getLogger(__name__)
_PIECE_BYTES = 1 << 20
_OVER = (RunPhase.DONE, RunPhase.FAILED)


class _Run:
    """A run in progress. Its condition guards the rest."""

    def __init__(self, run_id: str, deployment: Deployment) -> None:
        self.run_id = run_id
        self.deployment = deployment
        self.changed = threading.Condition()
        self.events: list[RunEvent] = [RunEvent(run_id, RunPhase.LOADING)]
        self.attached = 0
        self._worker: WorkerProcess | None = None
        self._withdrawn = False

    @property
    def is_over(self) -> bool:
        """Whether the last event is out."""
        return self.events[-1].phase in _OVER

    def tell(self, event: RunEvent) -> None:
        """Let the calls know."""
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def wake(self) -> None:
        """Let the calls look whether they are still wanted."""
        with self.changed:
            self.changed.notify_all()

    def hold(self, worker: WorkerProcess) -> None:
        """From now on this worker is killed when the run is withdrawn.

        Raises:
            CancelledError: it has been withdrawn.
        """
        with self.changed:
            if self._withdrawn:
                raise CancelledError(f"run {self.run_id} was withdrawn")
            self._worker = worker

    def withdraw(self) -> bool:
        """End the run; False when it has no worker yet."""
        with self.changed:
            self._withdrawn = True
            if self._worker is not None:
                self._worker.kill()
            return self._worker is not None


class Runs:
    """The runs of one agent."""

    def __init__(
        self,
        layout: Layout,
        disk: Disk,
        store: Store,
        sessions: Sessions,
        deployer: Deployer,
        occupancy: Occupancy,
        facts: Facts,
        *,
        margin_s: float,
        kept: int,
    ) -> None:
        self._layout = layout
        self._disk = disk
        self._store = store
        self._sessions = sessions
        self._deployer = deployer
        self._occupancy = occupancy
        self._facts = facts
        self._margin_s = margin_s
        self._kept = kept
        self._lock = threading.Lock()
        self._active: _Run | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    def open(self) -> None:
        """Remove what an interrupted run left."""
        self._disk.sweep(self._layout.runs)

    def close(self) -> None:
        """End the run in progress. Its worker was killed before."""
        self._closing = True
        thread = self._thread
        if thread is not None:
            thread.join()

    def attach(
        self, run_id: str, overrides: LoopOverrides, release: Digest | None = None, *, live: Callable[[], bool]
    ) -> tuple[Iterator[RunEvent], Callable[[], None]]:
        """Start a run, or find the one of this id; its events, and what to call when `live` turned false.

        Raises:
            StateError: nothing is installed, or the release that it names is not kept here.
            BusyError: something else holds the device.
            LoopSpecError: the overrides make no sense.
        """
        check_id(run_id, what="run id")
        with self._lock:
            run = self._active
            if run is None or run.run_id != run_id or run.is_over:
                outcome = self._outcome(run_id)
                if outcome is not None:
                    return iter((outcome,)), _nothing
                run = self._start(run_id, overrides, release)
            run.attached += 1
        return self._events(run, live), run.wake

    def samples(self, run_id: str, offset: int) -> Iterator[bytes]:
        """The spooled samples of a finished run, in pieces.

        Raises:
            NotFoundError: there are none of this id.
        """
        check_id(run_id, what="run id")
        if offset < 0:
            raise UsageError(f"samples cannot be read from offset {offset}")
        try:
            file = self._spool(run_id).open("rb")
        except FileNotFoundError as exc:
            raise NotFoundError(
                f"the device has no samples of run {run_id!r}; it keeps those of the last {self._kept} runs",
                hint="measure again: edgectl profile",
            ) from exc
        with file:
            file.seek(offset)
            while piece := file.read(_PIECE_BYTES):
                yield piece

    def _start(self, run_id: str, overrides: LoopOverrides, release: Digest | None) -> _Run:
        if self._closing:
            raise UnreachableError("the agent is stopping", hint="start it again: edgectl-agent run")
        self._deployer.supersede_silent(by=f"run {run_id}")
        deployment = self._deployer.installed_now() if release is None else self._deployer.kept(release)
        if deployment is None:
            raise StateError("nothing is installed on the device", hint="deploy first: edgectl deploy")
        run = _Run(run_id, deployment)
        self._occupancy.take(lambda: f"run {run_id} is {run.events[-1].phase.value}")
        self._active = run
        if release is None:
            self._sessions.end_others(deployment.release)
        self._thread = threading.Thread(target=self._work, args=(run, overrides), name="run", daemon=True)
        self._thread.start()
        return run

    def _work(self, run: _Run, overrides: LoopOverrides) -> None:
        try:
            event = self._measure(run, overrides)
            self._remember(event)
        except EdgectlError as exc:
            event = _failed(run, Failure(exc.reason, exc.message, exc.hint))
        except OSError as exc:
            event = _failed(run, Failure(DeviceError.reason, f"the disk of the device failed: {exc}"))
        except Exception as exc:  # noqa: BLE001 (the boundary of the thread: a run must come to its end)
            _LOG.exception("run %s", run.run_id)
            message = f"the agent has a defect: {type(exc).__name__}: {exc}"
            event = _failed(run, Failure(InternalError.reason, message))
        # In this order, so that who sees the end of the run finds the device free.
        self._occupancy.give_back()
        run.tell(event)

    def _measure(self, run: _Run, overrides: LoopOverrides) -> RunEvent:
        release = run.deployment.release
        manifest = self._store.manifest(release)
        spec = overrides.apply(check_loop(manifest, self._store.loop(manifest)))
        check_fits(spec, manifest.policy)
        facts = self._facts.get(refresh=True)
        worker = self._sessions.ready(release, manifest)
        run.hold(worker)
        written = self._sessions.written(release, f"{run.run_id}.npz")
        request = messages.Run(
            run_id=run.run_id,
            deployment_id=run.deployment.id,
            overrides=overrides,
            facts=facts,
            spool_path=str(written),
        )
        try:
            reply = worker.ask(
                request,
                messages.RunReply,
                timeout_s=spec.measure_s + self._margin_s,
                on_progress=lambda told: run.tell(RunEvent(run.run_id, told.phase, told.progress)),
            )
        except EdgectlError:
            # What the failure left of it, such as half a reload, is nothing to measure with.
            self._sessions.end(release)
            raise
        self._sessions.take_back(written)
        self._disk.publish(written, self._spool(run.run_id))
        return RunEvent(run.run_id, RunPhase.DONE, 1.0, reply.summary)

    def _events(self, run: _Run, live: Callable[[], bool]) -> Iterator[RunEvent]:
        told = 0
        try:
            while True:
                with run.changed:
                    while told == len(run.events) and live():
                        run.changed.wait()
                    fresh = run.events[told:]
                yield from fresh
                told += len(fresh)
                if not fresh or fresh[-1].phase in _OVER:
                    return
        finally:
            self._detach(run)

    def _detach(self, run: _Run) -> None:
        with self._lock:
            run.attached -= 1
            if run.attached or run.is_over:
                return
            if not run.withdraw():
                # Not running yet: it may be loading.
                self._sessions.kill(run.deployment.release)

    def _remember(self, event: RunEvent) -> None:
        self._disk.write(self._layout.runs / f"{event.run_id}.json", canonical_bytes(event))
        outcomes = sorted(self._layout.runs.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in outcomes[: -self._kept]:
            self._disk.remove(self._spool(path.stem))
            self._disk.remove(path)

    def _outcome(self, run_id: str) -> RunEvent | None:
        path = self._layout.runs / f"{run_id}.json"
        if not path.exists():
            return None
        try:
            return from_bytes(RunEvent, path.read_bytes(), what=path.name)
        except EdgectlError as exc:
            raise BundleCorruptError(
                f"the outcome of run {run_id!r} cannot be read: {exc.message}", hint="measure again: edgectl profile"
            ) from exc

    def _spool(self, run_id: str) -> Path:
        return self._layout.runs / f"{run_id}.npz"


def _nothing() -> None:
    """A run that is over has nobody to wake."""


def _failed(run: _Run, failure: Failure) -> RunEvent:
    return RunEvent(run.run_id, RunPhase.FAILED, failure=failure)
