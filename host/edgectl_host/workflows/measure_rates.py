"""Measures what this machine's processor reaches: large matrix products in each precision, and its memory.

The products are converted, proved and run like any policy, by the first runtime of the board's order that has kernels
of the precision here; each rate is that of the fastest call. Half a minute in all, the first time twice that.
"""

from __future__ import annotations

import socket
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edgectl_converters.assignment import Assignment
from edgectl_converters.bundle import lay_out_bundle
from edgectl_converters.conversion import run_conversion
from edgectl_converters.gates import HostWorker
from edgectl_converters.homes import homes_of
from edgectl_converters.plan import ConvertRequest
from edgectl_converters.products import write_products
from edgectl_converters.targets.registry import TARGETS, target
from edgectl_converters.workshop import Workshop
from edgectl_host.workflows.progress import Progress, Update
from edgectl_host.workflows.rates import MachineRates
from edgectl_profiles.schema import BoardProfile
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.device import DeviceFacts
from edgectl_protos.domain.errors import EdgectlError, StateError
from edgectl_protos.domain.loop import LoopOverrides, Mode
from edgectl_protos.domain.roofline import Ceiling
from edgectl_protos.domain.run import RunSummary
from edgectl_protos.worker.messages import Run, RunReply

__all__ = ["measure_bandwidth", "measure_rates", "rate_of"]

_SUBJECT = "this machine"
_PRECISIONS = ("fp32", "bf16", "fp16", "int8")
_MEASURE_S = 3.0
_COPY_BYTES, _ROUNDS = 128 << 20, 6


def measure_rates(facts: DeviceFacts, profile: BoardProfile, workshop: Workshop, progress: Progress) -> MachineRates:
    """Measure the machine of these facts, which is this one. A precision that nothing reaches here is left out.

    Raises:
        EdgectlError: not even float32 can be measured.
    """
    rates: dict[str, float] = {}
    by: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="edgectl-") as name:
        folder = Path(name)
        graph = write_products(folder / "products.onnx")
        for precision in _PRECISIONS:
            runtime = _runtime(precision, facts, profile)
            if not runtime:
                continue
            progress(Update(_SUBJECT, f"large matrix products, {runtime} {precision}"))
            try:
                rates[precision] = _rate(graph, runtime, precision, facts, workshop, folder / precision)
                by[precision] = runtime
            except EdgectlError:
                if precision == _PRECISIONS[0]:
                    raise
    progress(Update(_SUBJECT, "memory"))
    bytes_per_s = measure_bandwidth(facts.cpu_count)
    progress(Update(_SUBJECT, "measured", done=True))
    return MachineRates(facts.machine_id, socket.gethostname(), Ceiling(rates, bytes_per_s, measured=True), by)


def measure_bandwidth(threads: int) -> float:
    """Bytes a second that all cores copy together, read and written; the best of several rounds."""
    import numpy as np

    source = [np.ones(_COPY_BYTES // threads, np.uint8) for _ in range(threads)]
    into = [np.empty_like(array) for array in source]
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            list(pool.map(np.copyto, into, source))
            best = max(best, 2 * sum(array.nbytes for array in source) / (time.perf_counter() - started))
    return best


def _runtime(precision: str, facts: DeviceFacts, profile: BoardProfile) -> str:
    """The first of the board's order that has kernels of this precision here, and that edgectl builds it for."""
    for entry in profile.runtimes:
        found = facts.runtime(entry.name)
        able = found is not None and not found.problem and precision in found.precisions
        if able and entry.unit == "cpu" and entry.name in TARGETS and precision in target(entry.name).schemes:
            return entry.name
    return ""


def _rate(graph: Path, runtime: str, scheme: str, facts: DeviceFacts, workshop: Workshop, folder: Path) -> float:
    """Operations a second of the products in this scheme."""
    made = run_conversion(ConvertRequest(graph, Assignment.of(runtime, scheme)), workshop, lambda _: None)
    release = folder / "release"
    lay_out_bundle(made.bundle_dir, release)
    environment = workshop.toolchains.host().environment()
    worker = HostWorker(
        workshop.worker, environment, folder / "log", threads=workshop.threads, timeout_s=workshop.timeout_s
    )
    with worker:
        worker.load(release, homes_of([runtime], workshop.toolchains, lambda _: None))
        overrides = LoopOverrides(mode=Mode.CLOSED, measure_s=_MEASURE_S)
        reply = worker.ask(Run("rates", "rates", overrides, facts, str(folder / "samples.npz")), RunReply)
    return rate_of(made.manifest, reply.summary)


def rate_of(manifest: Manifest, summary: RunSummary) -> float:
    """Operations a second in the fastest call of the products' only component: what is never exceeded makes a floor.

    Raises:
        StateError: nothing was measured, or nothing was counted.
    """
    (component,) = manifest.components
    (span,) = (span for span in summary.spans if span.component)
    if component.work is None or not span.times.min:
        raise StateError(f"no rate of {component.runtime} {component.scheme}: {span.times.n} calls were measured")
    return component.work.operations / span.times.min
