"""A loaded release: its runtime, its pipeline, and how long the cold start took so far.

The cold start is the sum of its parts (start of the process and imports, load, first inference, the rest of
the first tick); the time a worker waits for its next request is in none of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from edgectl_agent.frames import Loaded, Run
from edgectl_agent.worker.loop.check import check_fits
from edgectl_agent.worker.loop.clock import MonotonicClock
from edgectl_agent.worker.loop.runner import Loop
from edgectl_agent.worker.loop.sources import Source, open_source
from edgectl_agent.worker.loop.summary import summarise
from edgectl_agent.worker.parity import run_parity
from edgectl_agent.worker.pipeline import Pipeline
from edgectl_agent.worker.process import peak_rss_bytes, temperature_c, usable_cores
from edgectl_agent.worker.release import read_release
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.domain.deployment import ParityFigure
from edgectl_protos.domain.loop import LoopSpec
from edgectl_protos.domain.run import ColdStart, RunPhase, RunSummary

__all__ = ["Session"]

Report = Callable[[RunPhase, float], None]


class Session:
    """One release in one runtime."""

    def __init__(self, release_dir: Path, threads: int, *, started_s: float) -> None:
        begun = time.perf_counter()
        self._release = read_release(release_dir)
        self._runtime = create(self._release.component.runtime)
        self._runtime.import_library()
        self._import_s = started_s + time.perf_counter() - begun
        self._first_tick_s: float | None = None
        self._load(threads or self._release.loop.threads or usable_cores())

    def _load(self, threads: int) -> None:
        begun = time.perf_counter()
        component = self._release.component
        self._threads = threads
        self._facts = self._runtime.load(self._release.path(component.artifact), component, threads)
        # 0 means that loading ran no inference of its own.
        first = self._facts.first_inference_s or None
        self._pipeline = Pipeline(self._release, self._runtime, first_inference_s=first)
        self._load_s = time.perf_counter() - begun - self._facts.first_inference_s

    @property
    def loaded(self) -> Loaded:
        """What was loaded, read back from the runtime."""
        return Loaded(
            runtime=self._runtime.name,
            runtime_version=self._facts.version,
            precision=self._facts.precision.value,
            provider=self._facts.provider,
            import_s=self._import_s,
            load_s=self._load_s,
        )

    def close(self) -> None:
        """Drop the graph."""
        self._runtime.close()

    def parity(self, progress: Callable[[float], None]) -> tuple[ParityFigure, ...]:
        """Run the golden cases."""
        return run_parity(self._release, self._pipeline, progress)

    def smoke(self) -> int:
        """Run the installed loop for a few ticks."""
        spec = self._release.loop
        loop, opened_s, close = self._open(spec)
        try:
            ticks = loop.smoke()
        finally:
            close()
        self._note_first_tick(loop, opened_s)
        return ticks

    def run(self, request: Run, report: Report) -> RunSummary:
        """Measure the loop as the request changes it."""
        spec = request.overrides.apply(self._release.loop)
        if request.overrides.threads is not None:
            threads = spec.threads or usable_cores()
            if threads != self._threads:
                report(RunPhase.LOADING, 0.0)
                self._load(threads)
        loop, opened_s, close = self._open(spec)
        try:
            report(RunPhase.WARMING_UP, 0.0)
            warm_up = loop.warm_up(lambda share: report(RunPhase.WARMING_UP, share))
            self._note_first_tick(loop, opened_s)
            report(RunPhase.MEASURING, 0.0)
            started_s = time.time()
            temperature_start = temperature_c()
            measurement = loop.measure()
            temperature_end = temperature_c()
        finally:
            close()
        figures = summarise(spec, loop.stages, measurement)
        samples_bytes = measurement.recorder.spool(Path(request.spool_path))
        temperatures = [value for value in (temperature_start, temperature_end) if value is not None]
        cores = min(self._threads, usable_cores())
        return RunSummary(
            run_id=request.run_id,
            deployment_id=request.deployment_id,
            release=self._release.digest,
            name=self._release.manifest.name,
            loop=spec,
            facts=request.facts,
            runtime=self._runtime.name,
            runtime_version=self._facts.version,
            precision_asked=self._release.component.precision.value,
            precision_used=self._facts.precision.value,
            provider=self._facts.provider,
            threads=self._threads,
            started_s=started_s,
            warm_up=warm_up,
            cold_start=self._cold_start(),
            peak_rss_bytes=peak_rss_bytes(),
            cpu_utilisation=measurement.cpu_ns / measurement.wall_ns / cores,
            temperature_start_c=temperature_start,
            temperature_peak_c=max(temperatures, default=None),
            samples_bytes=samples_bytes,
            **{name: getattr(figures, name) for name in asdict(figures)},
        )

    def _open(self, spec: LoopSpec) -> tuple[Loop, float, Callable[[], None]]:
        """The loop over its opened sources, how long opening took, and what closes them."""
        policy = self._release.manifest.policy
        check_fits(spec, policy)
        features = {feature.name: feature for feature in policy.observations}
        begun = time.perf_counter()
        sources: list[Source] = []

        def close() -> None:
            for source in sources:
                source.close()

        try:
            for source_spec in spec.sources:
                sources.append(open_source(source_spec, features[source_spec.feature], self._release))
        except BaseException:
            close()
            raise
        opened_s = time.perf_counter() - begun
        return Loop(spec, policy, self._pipeline, sources, MonotonicClock()), opened_s, close

    def _note_first_tick(self, loop: Loop, opened_s: float) -> None:
        if self._first_tick_s is None and loop.first_overhead_ns is not None:
            self._first_tick_s = opened_s + loop.first_overhead_ns / 1e9

    def _cold_start(self) -> ColdStart:
        inference_s = self._pipeline.first_inference_s or 0.0
        rest_s = self._first_tick_s or 0.0
        return ColdStart(
            import_s=self._import_s,
            load_s=self._load_s,
            first_inference_s=inference_s,
            first_action_s=self._import_s + self._load_s + inference_s + rest_s,
        )
