"""Graphs that this worker runs for another one, whose interpreter lacks their runtime."""

from __future__ import annotations

from pathlib import Path

from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import Graph
from edgectl_agent.worker.runtimes.registry import create
from edgectl_agent.worker.shared_memory import map_memory
from edgectl_protos.domain.errors import StateError
from edgectl_protos.worker import messages

__all__ = ["LentGraphs"]


class LentGraphs:
    """Graphs by number, each with the memory it shares."""

    def __init__(self) -> None:
        self._graphs: list[tuple[Graph, dict[str, Array], dict[str, Array]]] = []

    def open(self, request: messages.OpenGraph) -> messages.GraphOpened:
        """Load a component, or fork one that is loaded."""
        component = request.component
        if request.fork_of >= 0:
            graph = self._get(request.fork_of)[0].fork()
        else:
            runtime = create(component.runtime)
            graph = runtime.load(Path(request.artifact), component, request.threads, alone=request.alone)
        inputs, outputs = map_memory(Path(request.memory), component)
        self._graphs.append((graph, inputs, outputs))
        return messages.GraphOpened(len(self._graphs) - 1, graph.facts.of(component), graph.facts.first_inference_s)

    def infer(self, request: messages.InferGraph) -> messages.GraphInferred:
        """Run a graph once on what stands in its memory."""
        graph, inputs, outputs = self._get(request.graph)
        for name, array in graph.infer(inputs).items():
            outputs[name][...] = array
        return messages.GraphInferred()

    def _get(self, number: int) -> tuple[Graph, dict[str, Array], dict[str, Array]]:
        if not 0 <= number < len(self._graphs):
            raise StateError(f"this worker has no graph {number}")
        return self._graphs[number]
