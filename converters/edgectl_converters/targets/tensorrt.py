"""TensorRT: a strongly typed ONNX graph and the recipe by which the device builds its engine.

Facts: an engine belongs to one version, compute capability and operating system, so the host does not build it;
version 11 takes precision from the graph alone, and 10 takes it from there too, so one artifact serves both; a builder
takes all the memory that it is not forbidden, on a Jetson that of the robot's own processes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgectl_converters.targets.base import BuildRequest, Built, Target
from edgectl_converters.targets.onnx_typed import ENTRY, shapes_of, write_typed
from edgectl_protos.domain.bundle import BuildRecipe

__all__ = ["TensorRtTarget"]

_WORKSPACE_MIB = 1024


class TensorRtTarget(Target):
    """Engines that the device builds."""

    name = "tensorrt"
    reads = ("onnx",)
    schemes = ("fp32", "fp16", "bf16", "int8")
    packages = ("onnx", "onnxruntime", "numpy")

    def needs_calibration(self, scheme: str) -> bool:
        """Static int8 needs the ranges of activations."""
        return scheme == "int8"

    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Write the typed graph; the device does the rest."""
        settings = write_typed(request, Path(request.out), progress)
        options = {"profile": shapes_of(request), "workspace_mib": str(_WORKSPACE_MIB), "timing_cache": "1"}
        return Built(ENTRY, settings=settings, recipe=BuildRecipe(self.name, options))
