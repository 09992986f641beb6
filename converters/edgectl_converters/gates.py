"""The gates that fail a conversion, and not a robot: the device's own worker runs the release, here.

What this host cannot run (a runtime or kernels that it lacks, no agent in the worker's interpreter) is pending: the
device's own gate decides then, and the conversion goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgectl_protos.domain.artifact import precision_of
from edgectl_protos.domain.bundle import GateResult, Manifest
from edgectl_protos.domain.deployment import ParityFigure
from edgectl_protos.domain.device import ComponentFacts
from edgectl_protos.domain.errors import ParityError, PrecisionError, RuntimeMissingError, WorkerError
from edgectl_protos.worker.messages import (
    Capture,
    CaptureReply,
    Load,
    Loaded,
    Parity,
    ParityReply,
    Probe,
    ProbeReply,
)
from edgectl_protos.worker.process import WorkerProcess

__all__ = ["DeviceWorker", "Proved", "capture", "prove"]

_STOP_S = 5.0
_PENDING = "pending on the device"


@dataclass(frozen=True, slots=True)
class Proved:
    """What the gates measured, on which variant of the builds."""

    variant: int
    gates: tuple[GateResult, ...]


@dataclass(frozen=True, slots=True)
class DeviceWorker:
    """How the device's worker is started on this host."""

    command: tuple[str, ...]
    environment: dict[str, str]
    threads: int
    timeout_s: float

    @contextmanager
    def loaded(self, release: Path, log: Path) -> Iterator[tuple[WorkerProcess, Loaded]]:
        """A worker with the release in it.

        Raises:
            RuntimeMissingError: this host cannot run it: no agent, no runtime, or no kernels for a scheme.
            EdgectlError: the worker's own refusal.
        """
        if not self.command:
            raise RuntimeMissingError("no worker is at hand on this host")
        worker = WorkerProcess(list(self.command), log, stop_s=_STOP_S, environment=self.environment)
        try:
            yield worker, self._load(worker, release, log)
        except BaseException:
            # Interrupted, it must not go on by itself.
            worker.kill()
            raise
        finally:
            worker.stop()

    def _load(self, worker: WorkerProcess, release: Path, log: Path) -> Loaded:
        try:
            return worker.ask(Load(str(release), self.threads), Loaded, timeout_s=self.timeout_s)
        except WorkerError as exc:
            if "No module named" in log.read_text(errors="replace"):
                raise RuntimeMissingError("the agent is not installed in the worker's Python on this host") from exc
            raise


def prove(
    worker: DeviceWorker, release: Path, log: Path, manifest: Manifest, progress: Callable[[str], None]
) -> tuple[GateResult, ...]:
    """Load the release, see in which precision it computes, and compare it with its golden cases.

    Raises:
        PrecisionError: a component would compute in another precision than its scheme says.
        ParityError: a tensor is outside its limit.
        EdgectlError: the worker's own refusal, such as an operator that the runtime does not know.
    """
    progress("starting the device's worker on the release")
    try:
        with worker.loaded(release, log) as (process, loaded):
            used = [(facts, facts.precision == precision_of(facts.scheme)) for facts in loaded.components]
            figures: tuple[ParityFigure, ...] = ()
            if all(right for _, right in used):
                progress("checking parity with the golden cases")
                figures = process.ask(Parity(), ParityReply, timeout_s=worker.timeout_s).figures
    except RuntimeMissingError as exc:
        return _pending(manifest, exc.message)
    except PrecisionError as exc:
        if lacking := _without_kernels(worker, manifest, log):
            return _pending(manifest, lacking)
        raise exc
    return (*(_precision(facts, right) for facts, right in used), *_parity(figures, manifest))


def capture(
    worker: DeviceWorker, release: Path, log: Path, requests: tuple[Capture, ...], progress: Callable[[str], None]
) -> dict[str, int]:
    """Write what enters components while the release runs on observations; calls by component.

    Raises:
        RuntimeMissingError: this host cannot run the release.
        EdgectlError: the worker's own refusal.
    """
    calls = {}
    with worker.loaded(release, log) as (process, _):
        for request in requests:
            progress(f"capturing what enters {request.component}")
            calls[request.component] = process.ask(request, CaptureReply, timeout_s=worker.timeout_s).calls
    return calls


def _precision(facts: ComponentFacts, right: bool) -> GateResult:
    if not right:
        raise PrecisionError(
            f"{facts.name}: {facts.runtime} computes in {facts.precision}, {facts.scheme} was asked for",
            hint=f"ask for what it does: --scheme {facts.precision}",
        )
    return GateResult("precision", facts.name, 1.0, 1.0, True, f"{facts.precision} read back from {facts.runtime}")


def _parity(figures: tuple[ParityFigure, ...], manifest: Manifest) -> list[GateResult]:
    limit = manifest.tolerance
    gates = []
    for figure in figures:
        if not figure.passed:
            raise ParityError(
                f"{figure.tensor} differs by {figure.max_abs_of_range:.2e} of its range "
                f"(limit {limit.max_abs_of_range:.0e}), cosine {figure.cosine:.6f} (at least {limit.min_cosine})",
                hint="nothing was written; convert at a higher precision, or with footage of the task: --footage DIR",
            )
        error, cosine = float(f"{figure.max_abs_of_range:.3g}"), round(figure.cosine, 6)
        gates.append(GateResult("parity.max_abs_of_range", figure.tensor, error, limit.max_abs_of_range, True))
        gates.append(GateResult("parity.cosine", figure.tensor, cosine, limit.min_cosine, True))
    if not figures:
        raise ParityError("the release has no golden cases, so nothing would be proved")
    return gates


def _pending(manifest: Manifest, why: str) -> tuple[GateResult, ...]:
    note = f"{_PENDING}: {why}"
    gates = [
        GateResult("precision", component.name, 0.0, 1.0, passed=False, note=note, pending=True)
        for component in manifest.components
    ]
    limit = manifest.tolerance.max_abs_of_range
    action = manifest.program.action
    return (*gates, GateResult("parity.max_abs_of_range", action, 0.0, limit, passed=False, note=note, pending=True))


def _without_kernels(worker: DeviceWorker, manifest: Manifest, log: Path) -> str:
    """Which kernels this host lacks; empty when the refusal has another reason."""
    process = WorkerProcess(list(worker.command), log, stop_s=_STOP_S, environment=worker.environment)
    try:
        runtimes = process.ask(Probe(), ProbeReply, timeout_s=worker.timeout_s).runtimes
    finally:
        process.stop()
    offered = {facts.name: facts.precisions for facts in runtimes}
    for component in manifest.components:
        precision = precision_of(component.scheme)
        if precision not in offered.get(component.runtime, ()):
            return f"{component.runtime} has no {precision} kernels on this host"
    return ""
