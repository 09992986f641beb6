"""A release with a graph and a clock that tests command: time passes only where they say so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgectl_agent.worker.loop.runner import Loop
from edgectl_agent.worker.loop.sources import open_source
from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.release import Array, Release, read_release
from edgectl_agent.worker.runtimes.base import Graph, LoadedFacts
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.loop import Deadlines, LoopSpec
from edgectl_protos.domain.policy import Policy
from edgectl_protos.domain.program import Program
from edgectl_testkit.bundles import ACTION_DIM, CHUNK, COMPONENT, release_dir, tiny_bundle, tiny_loop

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


class FakeGraph(Graph):
    """Takes as long as it is told on a fake clock; its action is the number of the inference."""

    def __init__(self, component: Component, clock: FakeClock, durations_ms: Iterable[float]) -> None:
        super().__init__("fake", component, LoadedFacts("fp32", "fake", "0"))
        self.clock = clock
        self.durations = iter(durations_ms)
        self.count = 0
        self.chunk_of = lambda count: np.full((1, CHUNK, ACTION_DIM), count, np.float32)

    def _fork(self) -> Graph:
        return FakeGraph(self.component, self.clock, self.durations)

    def _bind(self, name: str, array: Array) -> bool:
        return True

    def _run(self) -> Mapping[str, Array]:
        self.clock.now += round(next(self.durations) * MS)
        self.count += 1
        return {"action": self.chunk_of(self.count)}

    def _close(self) -> None: ...

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return ()


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
    return replace(tiny_loop(rate_hz=100.0, measure_s=0.1), deadlines=Deadlines.of_tick(0.010))


@pytest.fixture
def make_loop(clock: FakeClock, release: Release) -> Callable[..., Loop]:
    """A loop whose inferences take these milliseconds; `published` collects its actions.

    Policy, program, component and arrays are the release's own unless given.
    """

    def make(
        spec: LoopSpec,
        durations_ms: Iterable[float],
        *,
        published: list[Any] | None = None,
        policy: Policy | None = None,
        program: Program | None = None,
        component: Component | None = None,
        arrays: dict[str, Array] | None = None,
        chunk_of: Callable[[int], Array] | None = None,
    ) -> Loop:
        manifest = release.manifest
        policy, program = policy or manifest.policy, program or manifest.program
        known = component or manifest.components[0]
        graph = FakeGraph(known, clock, durations_ms)
        if chunk_of is not None:
            graph.chunk_of = chunk_of
        executor = Executor(
            policy,
            program,
            arrays or release.arrays,
            {COMPONENT: graph} if program.components else {},
            path_of=release.path,
        )
        features = {feature.name: feature for feature in policy.observations}
        sources = [open_source(source, features[source.feature], release) for source in spec.sources]
        taken: list[Any] = [] if published is None else published
        return Loop(spec, policy, executor, sources, clock, publish=taken.append)

    return make
