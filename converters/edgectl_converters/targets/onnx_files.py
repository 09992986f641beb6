"""Copies an ONNX graph with what it keeps outside of itself."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgectl_converters.files import link_or_copy
from edgectl_converters.sources.onnx_graph import external_locations

__all__ = ["copy_graph", "external_files"]


def external_files(graph: Path) -> tuple[str, ...]:
    """Names of the files beside a graph that hold its weights."""
    import onnx

    model = onnx.load(str(graph), load_external_data=False)
    return tuple(external_locations(model))


def copy_graph(graph: Path, folder: Path) -> str:
    """Copy a graph and link its external data, which nobody changes; the name of the graph in the folder."""
    for name in external_files(graph):
        link_or_copy(graph.parent / name, folder / name)
    shutil.copyfile(graph, folder / "model.onnx")
    return "model.onnx"
