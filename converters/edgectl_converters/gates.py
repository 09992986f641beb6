"""The gates that fail a conversion, and not a robot: the device's own worker runs the release, here.

What this host cannot run (a runtime or kernels that it lacks, no agent in the worker's interpreter) is pending: the
device's own gate decides then, and the conversion goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from edgectl_protos.domain.artifact import precision_of
from edgectl_protos.domain.bundle import GateResult, Manifest
from edgectl_protos.domain.device import ComponentFacts
from edgectl_protos.domain.errors import (
    CancelledError,
    GateError,
    ParityError,
    PrecisionError,
    RuntimeMissingError,
    WorkerError,
)
from edgectl_protos.domain.parity import ParityReport
from edgectl_protos.worker.messages import (
    Capture,
    CaptureReply,
    Load,
    Loaded,
    Parity,
    ParityReply,
    Probe,
    ProbeReply,
    Trace,
    TraceReply,
    Unload,
    Unloaded,
)
from edgectl_protos.worker.process import WorkerProcess

__all__ = ["SIMULATED", "HostWorker", "Proved", "capture", "judge_oracle", "prove", "refusal", "trace"]

T = TypeVar("T")

SIMULATED = ", simulated"
"""How the note of a precision gate ends whose component ran in a simulator of its processor."""
_STOP_S = 5.0
_PENDING = "pending on the device"


@dataclass(frozen=True, slots=True)
class Proved:
    """What the gates measured, on which variant of the builds."""

    variant: int
    gates: tuple[GateResult, ...]


class HostWorker:
    """The device's worker on this host, one process from the first request on. A context: the process ends with it.

    `command` starts it, empty where there is none; `environment` is all of its environment; what it prints goes to
    `log`.
    """

    def __init__(
        self, command: tuple[str, ...], environment: dict[str, str], log: Path, *, threads: int, timeout_s: float
    ) -> None:
        self._command = command
        self._environment = environment
        self._log = log
        self._threads = threads
        self._timeout_s = timeout_s
        self._process: WorkerProcess | None = None
        self._killed = False

    def __enter__(self) -> HostWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is not None:
            if error is not None:
                # Interrupted, it must not go on by itself.
                process.kill()
            process.stop()

    def kill(self) -> None:
        """End it at once, from any thread; whoever asks it, now or later, gets CancelledError."""
        self._killed = True
        if self._process is not None:
            self._process.kill()

    def load(self, release: Path, interpreters: Mapping[str, str]) -> Loaded:
        """Have this release loaded, and no other; `interpreters` are the Pythons of runtimes that live elsewhere.

        Raises:
            RuntimeMissingError: this host cannot run it: no agent, no runtime, or no kernels for a scheme.
            EdgectlError: the worker's own refusal.
        """
        try:
            return self.ask(Load(str(release), self._threads, dict(interpreters)), Loaded)
        except WorkerError as exc:
            if "No module named" in self._log.read_text(errors="replace"):
                raise RuntimeMissingError("the agent is not installed in the worker's Python on this host") from exc
            raise

    def unload(self) -> None:
        """Give back the memory of what is loaded."""
        if self._process is not None and self._process.alive:
            self.ask(Unload(), Unloaded)

    def ask(self, request: object, reply: type[T]) -> T:
        """Make a request.

        Raises:
            RuntimeMissingError: there is no worker on this host.
            CancelledError: it was killed on purpose.
            EdgectlError: the worker's own refusal, or it died.
        """
        if not self._command:
            raise RuntimeMissingError("no worker is at hand on this host")
        if self._process is None or not self._process.alive:
            if self._killed:
                raise CancelledError("the conversion was interrupted")
            if self._process is not None:
                self._process.stop()
            self._process = WorkerProcess(list(self._command), self._log, stop_s=_STOP_S, environment=self._environment)
            if self._killed:
                # Between our look and the start.
                self._process.kill()
        return self._process.ask(request, reply, timeout_s=self._timeout_s)


def prove(
    worker: HostWorker,
    release: Path,
    manifest: Manifest,
    interpreters: Mapping[str, str],
    progress: Callable[[str], None],
) -> list[GateResult]:
    """Load the release, see in which precision it computes, and compare it with its golden cases.

    `interpreters` are the Pythons of the runtimes that the worker's own does not hold.

    Raises:
        PrecisionError: a component would compute in another precision than its scheme says.
        ParityError: a figure is outside its limit.
        EdgectlError: the worker's own refusal, such as an operator that the runtime does not know.
    """
    progress("loading the release in the device's worker")
    try:
        loaded = worker.load(release, interpreters)
        used = [(facts, facts.precision == precision_of(facts.scheme)) for facts in loaded.components]
        report: ParityReport | None = None
        if all(right for _, right in used):
            progress("checking parity with the golden cases")
            report = worker.ask(Parity(), ParityReply).report
    except RuntimeMissingError as exc:
        return _pending(manifest, exc.message)
    except PrecisionError as exc:
        if lacking := _without_kernels(worker, manifest, interpreters):
            return _pending(manifest, lacking)
        raise exc
    return [*(_precision(facts, right) for facts, right in used), *_parity(report)]


def judge_oracle(name: str, reference: str, report: ParityReport | None, why: str) -> GateResult:
    """How far an oracle is from the golden actions; no report: it cannot run here, for this reason.

    Raises:
        ParityError: they disagree, and two oracles that disagree prove nothing.
    """
    if report is None:
        return GateResult("oracle", name, 0.0, 1.0, passed=False, note=f"not traced: {why}", pending=True)
    if report.failures:
        raise ParityError(
            f"the exported graphs, run as they are, do not do what {reference} does: {report.failures[0]}",
            hint="nothing was written; is the golden data of this checkpoint? look: edgectl inspect",
        )
    first = report.figures[0]
    note = f"agrees with {reference}: {first.subject} {first.at}".rstrip()
    return GateResult(f"oracle.{first.statistic}", name, rounded(first.value), first.limit or 0.0, True, note)


def refusal(refused: dict[str, GateError]) -> GateError:
    """What to say when no attempt passed: what the nearest was off by. Of equals the last is the most careful."""
    words, nearest = min(reversed(refused.items()), key=lambda one: _excess(one[1]))
    if len(refused) == 1:
        return nearest
    return type(nearest)(
        f"none of {', '.join(refused)} passed the gate; the nearest, {words}: {nearest.message}", hint=nearest.hint
    )


def _excess(error: GateError) -> float:
    return error.excess if isinstance(error, ParityError) else math.inf


def trace(worker: HostWorker, release: Path, out: Path) -> ParityReport:
    """Write what an oracle does on the golden cases; how far its actions are from the golden ones.

    Raises:
        RuntimeMissingError: this host cannot run the release.
        EdgectlError: the worker's own refusal.
    """
    worker.load(release, {})
    return worker.ask(Trace(str(out)), TraceReply).report


def capture(
    worker: HostWorker, release: Path, requests: tuple[Capture, ...], progress: Callable[[str], None]
) -> dict[str, int]:
    """Write what enters components while the release runs on observations; calls by component.

    Raises:
        RuntimeMissingError: this host cannot run the release.
        EdgectlError: the worker's own refusal.
    """
    worker.load(release, {})
    calls = {}
    for request in requests:
        progress(f"capturing what enters {request.component}")
        calls[request.component] = worker.ask(request, CaptureReply).calls
    return calls


def _precision(facts: ComponentFacts, right: bool) -> GateResult:
    if not right:
        raise PrecisionError(
            f"{facts.name}: {facts.runtime} computes in {facts.precision}, {facts.scheme} was asked for",
            hint=f"ask for what it does: --scheme {facts.precision}",
        )
    where = f"{facts.runtime}{SIMULATED if facts.simulated else ''}"
    return GateResult("precision", facts.name, 1.0, 1.0, True, f"{facts.precision} read back from {where}")


def _parity(report: ParityReport | None) -> list[GateResult]:
    if report is None or not report.figures:
        raise ParityError("the release has no golden cases, so nothing would be proved")
    if failures := report.failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise ParityError(
            f"{failures[0]}{more}",
            hint="nothing was written; convert at a higher precision, or with footage of the task: --footage DIR",
            excess=max(one.value / one.limit if one.limit else math.inf for one in failures),
        )
    return [
        GateResult(f"parity.{one.statistic}", one.subject, rounded(one.value), one.limit, True, one.at)
        for one in report.figures
        if one.limit is not None
    ]


def rounded(value: float) -> float:
    """A figure without the last digits, which differ from run to run and would change the release."""
    return float(f"{value:.3g}")


def _pending(manifest: Manifest, why: str) -> list[GateResult]:
    note = f"{_PENDING}: {why}"
    gates = [
        GateResult("precision", component.name, 0.0, 1.0, passed=False, note=note, pending=True)
        for component in manifest.components
    ]
    limit = manifest.tolerance.rmse
    return [*gates, GateResult("parity.rmse", "executed", 0.0, limit, passed=False, note=note, pending=True)]


def _without_kernels(worker: HostWorker, manifest: Manifest, interpreters: Mapping[str, str]) -> str:
    """Which kernels this host lacks; empty when the refusal has another reason."""
    offered = {facts.name: facts.precisions for facts in worker.ask(Probe(), ProbeReply).runtimes}
    for component in manifest.components:
        precision = precision_of(component.scheme)
        if component.runtime not in interpreters and precision not in offered.get(component.runtime, ()):
            return f"{component.runtime} has no {precision} kernels on this host"
    return ""
