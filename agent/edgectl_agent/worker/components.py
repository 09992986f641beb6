"""Loads the components of a release, each into its runtime, and says what was really loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgectl_agent.worker.derived import artifact_of
from edgectl_agent.worker.release import Release
from edgectl_agent.worker.runtimes.base import Graph, Runtime
from edgectl_agent.worker.runtimes.generator import CachedGenerator, Generator
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.domain.device import ComponentFacts
from edgectl_protos.domain.program import Generate, flat_steps

__all__ = ["LoadedComponents", "import_runtimes", "load_components"]


@dataclass(frozen=True, slots=True)
class LoadedComponents:
    """Graphs by component, and generators of those that keep a cache."""

    graphs: Mapping[str, Graph]
    generators: Mapping[str, Generator]
    facts: tuple[ComponentFacts, ...]
    first_inference_s: float

    def close(self) -> None:
        """Drop all graphs."""
        for graph in self.graphs.values():
            graph.close()


def import_runtimes(release: Release, interpreters: Mapping[str, str]) -> dict[str, Runtime]:
    """The runtimes that the release needs, their libraries imported; those named in `interpreters` live elsewhere.

    Raises:
        RuntimeMissingError: one is not known or not installed here.
    """
    names = dict.fromkeys(component.runtime for component in release.manifest.components)
    runtimes = {name: create(name, interpreters.get(name, "")) for name in names}
    try:
        for runtime in runtimes.values():
            runtime.import_library()
    except BaseException:
        for runtime in runtimes.values():
            runtime.close()
        raise
    return runtimes


def load_components(
    release: Release, runtimes: Mapping[str, Runtime], threads: int, derived_dir: str = ""
) -> LoadedComponents:
    """Load every component, in the order of its first use; what this device built is found in `derived_dir`.

    Raises:
        EdgectlError: what a runtime refuses; nothing is left loaded.
    """
    manifest = release.manifest
    generating = {step.component for step, _ in flat_steps(manifest.program.steps) if isinstance(step, Generate)}
    graphs: dict[str, Graph] = {}
    generators: dict[str, Generator] = {}
    facts = []
    try:
        for name in manifest.program.components:
            component = manifest.component(name)
            assert component is not None, "a manifest that exists holds what its program runs"
            runtime = runtimes[component.runtime]
            artifact = artifact_of(release, component, runtime, derived_dir)
            graph = runtime.load(artifact, component, threads, alone=len(manifest.components) == 1)
            graphs[name] = graph
            if name in generating:
                generators[name] = graph if isinstance(graph, Generator) else CachedGenerator(graph, component)
            facts.append(graph.facts.of(component))
    except BaseException:
        for graph in graphs.values():
            graph.close()
        raise
    return LoadedComponents(graphs, generators, tuple(facts), sum(g.facts.first_inference_s for g in graphs.values()))
