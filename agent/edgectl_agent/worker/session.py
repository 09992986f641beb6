"""A loaded release: its components, its executor, and how long the cold start took so far.

The cold start is the sum of its parts (start of the process and imports, load, first inference, the rest of the first
tick); the time a worker waits for its next request is in none of them. It is the first run's: later ones are warm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from edgectl_agent.config import VERSION
from edgectl_agent.worker.capture import Capture, read_observations
from edgectl_agent.worker.components import LoadedComponents, import_runtimes, load_components
from edgectl_agent.worker.interference import Watch
from edgectl_agent.worker.loop.clock import MonotonicClock
from edgectl_agent.worker.loop.generation import generation_figures
from edgectl_agent.worker.loop.runner import Loop
from edgectl_agent.worker.loop.sources import Source, open_source
from edgectl_agent.worker.loop.summary import slots_in, summarise
from edgectl_agent.worker.memory_reads import measure_reads
from edgectl_agent.worker.parity import run_parity, run_trace
from edgectl_agent.worker.process import peak_rss_bytes, usable_cores
from edgectl_agent.worker.program import CallHook, Executor
from edgectl_agent.worker.release import read_release
from edgectl_agent.worker.trace import write_trace
from edgectl_protos.domain.errors import BundleError
from edgectl_protos.domain.loop import LoopSpec, check_fits
from edgectl_protos.domain.parity import ParityReport
from edgectl_protos.domain.program import Call, flat_steps
from edgectl_protos.domain.run import ColdStart, RunPhase, RunSummary
from edgectl_protos.worker import messages

__all__ = ["Session"]

Report = Callable[[RunPhase, float], None]


class Session:
    """One release in this process."""

    def __init__(
        self,
        release_dir: Path,
        threads: int,
        *,
        started_s: float,
        interpreters: Mapping[str, str] | None = None,
        derived_dir: str = "",
    ) -> None:
        begun = time.perf_counter()
        self._release = read_release(release_dir)
        self._derived_dir = derived_dir
        self._runtimes = import_runtimes(self._release, interpreters or {})
        self._import_s = started_s + time.perf_counter() - begun
        self._first_tick_s: float | None = None
        self._is_warm = False
        self._components: LoadedComponents | None = None
        self._own_threads = threads or self._release.loop.threads or usable_cores()
        self._threads = 0
        try:
            self._load(self._own_threads)
        except BaseException:
            self.close()
            raise

    def _load(self, threads: int) -> None:
        """Have the components on this many threads, which a run may ask for, for itself."""
        if self._components is not None and threads == self._threads:
            return
        self._drop()
        begun = time.perf_counter()
        self._threads = threads
        self._components = loaded = load_components(self._release, self._runtimes, threads, self._derived_dir)
        self._executor = self._execute()
        self._load_s = time.perf_counter() - begun - loaded.first_inference_s

    def _execute(self, hook: CallHook | None = None) -> Executor:
        assert self._components is not None
        manifest = self._release.manifest
        return Executor(
            manifest.policy,
            manifest.program,
            self._release.arrays,
            self._components.graphs,
            path_of=self._release.path,
            generators=self._components.generators,
            hook=hook,
        )

    @property
    def loaded(self) -> messages.Loaded:
        """What was loaded, read back from the runtimes."""
        assert self._components is not None
        return messages.Loaded(self._components.facts, self._import_s, self._load_s)

    def close(self) -> None:
        """Drop the graphs, and what their runtimes started."""
        self._drop()
        for runtime in self._runtimes.values():
            runtime.close()

    def _drop(self) -> None:
        if self._components is not None:
            self._components.close()
            self._components = None

    def parity(self, progress: Callable[[float], None]) -> ParityReport | None:
        """Run the golden cases."""
        self._load(self._own_threads)
        return run_parity(self._release, self._execute, progress)

    def trace(self, out: Path, progress: Callable[[float], None]) -> ParityReport:
        """Run the golden cases as an oracle, and write what happens on the way."""
        self._load(self._own_threads)
        report, arrays = run_trace(self._release, self._execute, progress)
        write_trace(out, arrays)
        return report

    def capture(self, request: messages.Capture, progress: Callable[[float], None]) -> int:
        """Run the program on recorded observations and write what enters a component; how many calls."""
        self._load(self._own_threads)
        observations = read_observations(Path(request.observations), self._release)
        steps = flat_steps(self._release.manifest.program.steps)
        calls = sum(passes for step, passes in steps if isinstance(step, Call) and step.component == request.component)
        if not calls:
            raise BundleError(f"no step of the program calls the component {request.component!r}")
        taken = Capture(request.component, calls * len(observations), request.limit)
        executor = self._execute(taken)
        for index, observation in enumerate(observations):
            for name, value in observation.items():
                executor.check(name, value)
            executor.run(observation)
            progress((index + 1) / len(observations))
        return taken.write(Path(request.out))

    def smoke(self) -> int:
        """Run the installed loop for a few ticks."""
        self._load(self._own_threads)
        spec = self._release.loop
        loop, opened_s, close = self._open(spec)
        try:
            ticks = loop.smoke()
        finally:
            close()
        self._note_first_tick(loop, opened_s)
        return ticks

    def run(self, request: messages.Run, report: Report) -> RunSummary:
        """Measure the loop as the request changes it."""
        spec = request.overrides.apply(self._release.loop)
        asked = request.overrides.threads
        threads = self._own_threads if asked is None else asked or usable_cores()
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
            watch = Watch()
            measurement = loop.measure(watch.between_ticks)
            interference = watch.stop()
        finally:
            close()
        figures = summarise(spec, measurement)
        samples_bytes = measurement.recorder.spool(Path(request.spool_path), slots_in(spec, measurement).responses_ns)
        cores = min(self._threads, usable_cores())
        peak_bytes = peak_rss_bytes()
        generations = generation_figures(measurement.recorder, self._executor.generations)
        return RunSummary(
            run_id=request.run_id,
            deployment_id=request.deployment_id,
            release=self._release.digest,
            name=self._release.manifest.name,
            loop=spec,
            facts=request.facts,
            components=self.loaded.components,
            threads=self._threads,
            started_s=started_s,
            warm_up=warm_up,
            cold_start=self._cold_start(),
            peak_rss_bytes=peak_bytes,
            cpu_utilisation=measurement.cpu_ns / measurement.wall_ns / cores,
            temperature_start_c=watch.temperature_start_c,
            temperature_max_c=watch.temperature_max_c,
            interference=interference,
            samples_bytes=samples_bytes,
            agent_version=VERSION,
            generations=generations,
            memory_reads=measure_reads(self._threads) if generations else None,
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
        return Loop(spec, policy, self._executor, sources, MonotonicClock()), opened_s, close

    def _note_first_tick(self, loop: Loop, opened_s: float) -> None:
        if self._first_tick_s is None and loop.first_overhead_ns is not None:
            self._first_tick_s = opened_s + loop.first_overhead_ns / 1e9

    def _cold_start(self) -> ColdStart | None:
        assert self._components is not None
        if self._is_warm:
            return None
        self._is_warm = True
        # A runtime that had to run once to be loaded has had its first inference there.
        inference_s = self._components.first_inference_s or self._executor.first_run_s or 0.0
        rest_s = self._first_tick_s or 0.0
        return ColdStart(
            import_s=self._import_s,
            load_s=self._load_s,
            first_inference_s=inference_s,
            first_action_s=self._import_s + self._load_s + inference_s + rest_s,
        )
