"""The smallest graph there is, run once: an import proves nothing where a library has no kernels for the processor.

A runtime that reads ONNX runs `GRAPH`; one with a format of its own writes the same sum in it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from edgectl_agent.worker.runtimes.base import Runtime
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import DeviceError
from edgectl_protos.domain.parity import Tolerance

__all__ = ["GRAPH", "launch_one"]

GRAPH = bytes.fromhex(
    "080812003a3d0a0e0a01780a017812017922034164641201745a130a0178120e0a0c080112080a0208010a02080462130a0179120e0a0c"
    "080112080a0208010a02080442040a001011"
)
"""ONNX: `y = x + x` over float32[1, 4], opset 17."""


def launch_one(runtime: Runtime, entry: str = "sum.onnx", files: dict[str, bytes] | None = None) -> None:
    """Load the sum of two inputs `x` into `y`, and compute it.

    Raises:
        DeviceError: it gives something else.
        EdgectlError: whatever loading or running it raises.
    """
    port = TensorSpec("x", DType.FLOAT32, (1, 4))
    component = Component(
        "sum",
        runtime.name,
        "fp32",
        entry,
        (port,),
        (TensorSpec("y", port.dtype, port.shape),),
        Tolerance(0.0, 0.0, 0.0, 0.0),
    )
    with tempfile.TemporaryDirectory(prefix="edgectl-") as folder:
        for name, data in (files or {entry: GRAPH}).items():
            Path(folder, name).write_bytes(data)
        graph = runtime.load(Path(folder, entry), component, threads=1)
        try:
            x = np.arange(4, dtype=np.float32).reshape(1, 4)
            y = graph.infer({"x": x})["y"]
            if not np.array_equal(y, x + x):
                raise DeviceError(f"{runtime.name} does not add: 0 1 2 3 twice gave {y.ravel().tolist()}")
        finally:
            graph.close()
