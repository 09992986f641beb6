"""Answers the daemon's requests, one at a time, until it hangs up.

A member of the error tree becomes a `Failure` frame; any other exception is a defect, which goes to the log
with its traceback and to the daemon as reason `internal`. Nothing here is fatal to the worker but a damaged
stream.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from edgectl_agent.worker.lent_graphs import LentGraphs
from edgectl_agent.worker.process import die_first
from edgectl_agent.worker.runtimes.probing import probe_all
from edgectl_agent.worker.runtimes.registry import create
from edgectl_agent.worker.session import Session
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.errors import EdgectlError, InternalError, StateError
from edgectl_protos.domain.run import RunPhase
from edgectl_protos.worker import messages
from edgectl_protos.worker.framing import read_frame, write_frame

__all__ = ["Answers", "serve"]

_LOG = logging.getLogger(__name__)


class Answers:
    """The state between requests: at most one loaded release."""

    def __init__(self, send: Callable[[Any], None], *, started_s: float) -> None:
        self._send = send
        self._started_s = started_s
        self._session: Session | None = None
        self._lent = LentGraphs()
        self._handlers: dict[type, Callable[[Any], Any]] = {
            messages.Probe: self._probe,
            messages.Load: self._load,
            messages.BoundTo: self._bound_to,
            messages.Build: self._build,
            messages.Unload: self._unload,
            messages.Parity: self._parity,
            messages.Trace: self._trace,
            messages.Capture: self._capture,
            messages.OpenGraph: self._lent.open,
            messages.InferGraph: self._lent.infer,
            messages.Smoke: self._smoke,
            messages.Run: self._run,
        }

    def answer(self, request: Any) -> Any:
        """The reply to a request, or a `Failure`."""
        try:
            handler = self._handlers.get(type(request))
            if handler is None:
                raise StateError(f"{type(request).__name__} is not a request")
            return handler(request)
        except EdgectlError as exc:
            _LOG.info("%s: %s", exc.reason, exc.message)
            return Failure(exc.reason, exc.message, exc.hint)
        except Exception as exc:  # noqa: BLE001 (the boundary of the process: the daemon must get its answer)
            _LOG.exception("%s failed", type(request).__name__)
            return Failure(
                InternalError.reason,
                f"the worker has a defect: {type(exc).__name__}: {exc}",
                hint="the traceback is in the worker's log on the device",
            )

    def _probe(self, _: messages.Probe) -> messages.ProbeReply:
        return messages.ProbeReply(probe_all())

    def _load(self, request: messages.Load) -> messages.Loaded:
        self.close()
        self._session = Session(
            Path(request.release_dir),
            request.threads,
            started_s=self._started_s,
            interpreters=request.interpreters,
            derived_dir=request.derived_dir,
        )
        return self._session.loaded

    def _bound_to(self, request: messages.BoundTo) -> messages.BoundToReply:
        return messages.BoundToReply(create(request.runtime).bound_to())

    def _build(self, request: messages.Build) -> messages.Built:
        self.close()
        die_first()
        runtime = create(request.component.runtime)
        return runtime.build(
            Path(request.artifact),
            request.component,
            Path(request.out),
            Path(request.cache),
            lambda share: self._progress(RunPhase.LOADING, share),
        )

    def _unload(self, _: messages.Unload) -> messages.Unloaded:
        self.close()
        return messages.Unloaded()

    def close(self) -> None:
        """Drop what is loaded."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _parity(self, _: messages.Parity) -> messages.ParityReply:
        session = self._loaded_session()
        return messages.ParityReply(session.parity(lambda share: self._progress(RunPhase.MEASURING, share)))

    def _trace(self, request: messages.Trace) -> messages.TraceReply:
        session = self._loaded_session()
        out = Path(request.out)
        return messages.TraceReply(session.trace(out, lambda share: self._progress(RunPhase.MEASURING, share)))

    def _capture(self, request: messages.Capture) -> messages.CaptureReply:
        session = self._loaded_session()
        return messages.CaptureReply(session.capture(request, lambda share: self._progress(RunPhase.MEASURING, share)))

    def _smoke(self, _: messages.Smoke) -> messages.SmokeReply:
        return messages.SmokeReply(self._loaded_session().smoke())

    def _run(self, request: messages.Run) -> messages.RunReply:
        return messages.RunReply(self._loaded_session().run(request, self._progress))

    def _loaded_session(self) -> Session:
        if self._session is None:
            raise StateError("no release is loaded in this worker")
        return self._session

    def _progress(self, phase: RunPhase, share: float) -> None:
        self._send(messages.Progress(phase, share))


def serve(requests: BinaryIO, replies: BinaryIO, *, started_s: float) -> None:
    """Answer until the requests end.

    Raises:
        WorkerError: the stream of requests is damaged.
    """

    def send(message: Any) -> None:
        write_frame(replies, message)

    answers = Answers(send, started_s=started_s)
    try:
        while (request := read_frame(requests)) is not None:
            send(answers.answer(request))
    finally:
        answers.close()
