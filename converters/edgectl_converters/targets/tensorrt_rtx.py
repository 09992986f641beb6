"""The RTX variant: an engine for the board's compute capability, built on this host.

Facts: its builder needs no GPU when it is told the compute capabilities (one engine may serve several); it is the one
that the agent's runtime has, so it is that runtime, in a worker of the toolchain, that builds; what it logs of each
layer's types is checked there. There are no real kernels for bf16 before 8.0, which it builds for all the same.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from edgectl_converters.targets.base import BuildRequest, Built, Target
from edgectl_converters.targets.onnx_typed import ENTRY, shapes_of, write_typed
from edgectl_protos.domain.bundle import BuildRecipe, Component, GateResult
from edgectl_protos.domain.errors import RouteError, ToolchainError, WorkerError
from edgectl_protos.worker import messages
from edgectl_protos.worker.process import WorkerProcess

__all__ = ["TensorRtRtxTarget"]

_TIMEOUT_S = 3600.0
_STOP_S = 5.0


class TensorRtRtxTarget(Target):
    """Engines for GPUs that the board has."""

    name = "tensorrt_rtx"
    toolchain = "tensorrt_rtx"
    home = "tensorrt_rtx"
    reads = ("onnx",)
    reads_options = ("sm",)
    schemes = ("fp32", "fp16", "int8")
    packages = ("onnx", "onnxruntime", "numpy")

    def needs_calibration(self, scheme: str) -> bool:
        """Static int8 needs the ranges of activations."""
        return scheme == "int8"

    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Write the typed graph, and have its engine built.

        Raises:
            RouteError: the board does not say its compute capability.
            OperatorError: the builder does not know an operator.
            PrecisionError: layers compute in another precision than was asked for.
            BuildError: the builder failed.
            ToolchainError: its process died.
        """
        capability = request.options.get("sm", "")
        if not capability:
            raise RouteError(
                f"{self.name} builds for a compute capability, and none is known",
                hint="name a board that has a GPU: edgectl convert --board NAME",
            )
        with tempfile.TemporaryDirectory(prefix="edgectl-") as work:
            settings = write_typed(request, Path(work), progress)
            progress(f"building the engine of {request.component} for {capability}")
            built = self._engine(request, Path(work), capability)
        layers = {f"layers_{precision}": str(count) for precision, count in built.layers.items()}
        said = ", ".join(f"{count} in {precision}" for precision, count in built.layers.items())
        # The builder's worker refuses any other precision than the scheme's.
        gate = GateResult("layers", request.component, 1.0, 1.0, True, f"{said}, read back from the builder")
        settings |= layers | {"compute_capability": capability}
        return Built(built.entry, settings=settings, gates=(gate,))

    def _engine(self, request: BuildRequest, work: Path, capability: str) -> messages.Built:
        recipe = BuildRecipe(self.name, {"profile": shapes_of(request), "capability": capability})
        component = Component(
            name=request.component,
            runtime=self.name,
            scheme=request.scheme,
            entry=ENTRY,
            inputs=request.inputs,
            outputs=request.outputs,
            tolerance=self.tolerance(request.scheme),
            recipe=recipe,
        )
        command = [sys.executable, "-m", "edgectl_agent.worker"]
        worker = WorkerProcess(command, work / "worker.log", stop_s=_STOP_S)
        try:
            asked = messages.Build(component, str(work / ENTRY), request.out, str(work))
            return worker.ask(asked, messages.Built, timeout_s=_TIMEOUT_S)
        except WorkerError as exc:
            raise ToolchainError(f"the builder of {self.name}: {exc.message}", hint=exc.hint) from exc
        finally:
            worker.stop()
