"""Executors over small graphs in the reference runtime."""

import pytest

from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.runtimes.generator import CachedGenerator
from edgectl_agent.worker.runtimes.registry import create


@pytest.fixture
def build(tmp_path):
    """An executor over these (component, graph) pairs."""

    def make(observed, program, parts, arrays=None, **options):
        graphs, generators = {}, {}
        for made, model in parts:
            path = tmp_path / f"{made.name}.onnx"
            path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
            graphs[made.name] = create("reference").load(path, made, 1)
            if made.states:
                generators[made.name] = CachedGenerator(graphs[made.name], made)
        return Executor(
            observed,
            program,
            arrays or {},
            graphs,
            path_of=lambda path: tmp_path / path,
            generators=generators,
            **options,
        )

    return make
