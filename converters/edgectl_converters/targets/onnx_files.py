"""Copies an ONNX graph with what it keeps outside of itself."""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["copy_graph", "external_files"]


def external_files(graph: Path) -> tuple[str, ...]:
    """Names of the files beside a graph that hold its weights."""
    import onnx

    model = onnx.load(str(graph), load_external_data=False)
    entries = (entry for tensor in model.graph.initializer for entry in tensor.external_data)
    return tuple(sorted({entry.value for entry in entries if entry.key == "location"}))


def copy_graph(graph: Path, folder: Path) -> str:
    """Copy a graph and its external data; the name of the graph in the folder."""
    for name in external_files(graph):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(graph.parent / name, folder / name)
    shutil.copyfile(graph, folder / "model.onnx")
    return "model.onnx"
