"""The onnx package's own evaluator: the artifact is the graph itself. Slow and exact: the executable specification."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgectl_converters.targets.base import BuildRequest, Built, Target
from edgectl_converters.targets.onnx_files import copy_graph

__all__ = ["ReferenceTarget"]


class ReferenceTarget(Target):
    """ONNX as it is."""

    name = "reference"
    reads = ("onnx",)
    schemes = ("fp32",)
    packages = ("onnx", "numpy")

    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Copy the graph."""
        return Built(copy_graph(Path(request.graph), Path(request.out)))
