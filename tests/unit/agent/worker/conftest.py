"""A release with a runtime and a clock that tests command: time passes only where they say so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgectl_agent.worker.loop.runner import Loop
from edgectl_agent.worker.loop.sources import open_source
from edgectl_agent.worker.pipeline import Pipeline
from edgectl_agent.worker.release import Release, read_release
from edgectl_agent.worker.runtimes.base import LoadedFacts, Runtime
from edgectl_protos.domain.artifact import Precision
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.loop import Deadlines, LoopSpec
from edgectl_testkit.bundles import ACTION_DIM, CHUNK, release_dir, tiny_bundle, tiny_loop

MS = 1_000_000


class FakeClock:
    """Stands still but for sleeps, and `late_ns` after each of those that had to wait."""

    def __init__(self) -> None:
        self.now = 1_000_000_000
        self.late_ns = 0

    def now_ns(self) -> int:
        return self.now

    def cpu_ns(self) -> int:
        return self.now // 2

    def sleep_until(self, moment_ns: int) -> None:
        if moment_ns > self.now:
            self.now = moment_ns + self.late_ns


class FakeRuntime(Runtime):
    """Takes as long as it is told on a fake clock; its action is the number of the inference."""

    name = "fake"

    def __init__(self, clock: FakeClock, durations_ms: Iterable[float]) -> None:
        super().__init__()
        self.clock = clock
        self.durations = iter(durations_ms)
        self.count = 0

    def _infer(self, inputs: dict[str, Any]) -> dict[str, Any]:
        self.clock.now += round(next(self.durations) * MS)
        self.count += 1
        return {"action": np.full((1, CHUNK, ACTION_DIM), self.count, np.float32)}

    def _import(self) -> str:
        return "0"

    def _facts(self, version: str) -> RuntimeFacts:
        return RuntimeFacts(self.name, version, (), ())

    def _load(self, artifact: Path, component: Any, threads: int) -> LoadedFacts:
        return LoadedFacts(Precision.FP32, "fake", "0")

    def _close(self) -> None: ...

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return ()

    def _load_error(self, error: BaseException, artifact: Path) -> Any: ...


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def release(tmp_path: Path) -> Release:
    bundle, _ = tiny_bundle(tmp_path / "bundle")
    return read_release(release_dir(bundle, tmp_path / "release"))


@pytest.fixture
def spec() -> LoopSpec:
    """100 Hz for 100 ms: ten ticks, an inference in every second one."""
    return replace(tiny_loop(rate_hz=100.0, measure_s=0.1), deadlines=Deadlines(tick_s=0.010))


@pytest.fixture
def make_loop(clock: FakeClock, release: Release) -> Callable[..., Loop]:
    """A loop whose inferences take these milliseconds; `published` collects its actions."""

    def make(spec: LoopSpec, durations_ms: Iterable[float], *, published: list[Any] | None = None) -> Loop:
        runtime = FakeRuntime(clock, durations_ms)
        runtime.load(Path(), release.component, 1)
        policy = release.manifest.policy
        sources = [open_source(source, policy.observation(source.feature), release) for source in spec.sources]
        taken: list[Any] = [] if published is None else published
        return Loop(spec, policy, Pipeline(release, runtime), sources, clock, publish=taken.append)

    return make
