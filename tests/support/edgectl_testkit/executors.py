"""Executors of a release, over its graphs in the reference runtime."""

from __future__ import annotations

from edgectl_agent.worker.operations import CallHook
from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.release import Release
from edgectl_agent.worker.runtimes.base import Graph
from edgectl_agent.worker.runtimes.generator import CachedGenerator, Generator
from edgectl_agent.worker.runtimes.registry import create

__all__ = ["ExecutorMaker"]


class ExecutorMaker:
    """Makes them; tests change `graphs`, which all that it makes share."""

    def __init__(self, release: Release) -> None:
        self.release = release
        parts = release.manifest.components
        self.graphs: dict[str, Graph] = {
            one.name: create("reference").load(release.artifact(one), one, 1) for one in parts
        }
        self.generators: dict[str, Generator] = {
            one.name: CachedGenerator(self.graphs[one.name], one) for one in parts if one.states
        }

    def __call__(self, hook: CallHook | None = None) -> Executor:
        manifest = self.release.manifest
        return Executor(
            manifest.policy,
            manifest.program,
            self.release.arrays,
            self.graphs,
            path_of=self.release.path,
            generators=self.generators,
            hook=hook,
        )
