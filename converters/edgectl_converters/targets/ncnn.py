"""ncnn: a .param and a .bin, by pnnx from the ONNX graph, in float32.

Facts: pnnx takes fixed shapes only and drops the batch dimension; it calls ports in0, in1 … out0 … by their order; it
leaves its intermediate files beside the graph, so it works in a folder of its own; weights beside the graph become
zeros without a word, so they are brought inside first; what it cannot convert stays in the .param as an operator of
another library; it writes a reduction over the only axis of a vector as one over none, which the gate finds. Its
package asks for torch, which this way in never imports: only its program is used.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from edgectl_converters.targets.base import BuildRequest, Built, Target
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import OperatorError, RouteError, ToolchainError

__all__ = ["NcnnTarget"]

_ENTRY = "model.param"
_UNKNOWN_OPERATOR = (
    re.compile(r"No Op registered for (?P<op>\S+)"),
    re.compile(r"(?P<op>[^\s:]+)\(-?\d+\) is not a registered function/op"),
)
_FOREIGN = re.compile(r"^(?P<kind>\w+\.\w[\w.]*)\s", re.MULTILINE)
_TIMEOUT_S = 900.0


class NcnnTarget(Target):
    """ncnn on the CPU."""

    name = "ncnn"
    toolchain = "ncnn"
    reads = ("onnx",)
    takes_bytes = False
    schemes = ("fp32",)
    packages = ("onnx", "pnnx")

    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Convert, and keep the two files that the runtime opens.

        Raises:
            OperatorError: pnnx does not know an operator.
            RouteError: a port is not of fixed float32 shape.
            ToolchainError: pnnx fails.
        """
        for spec in (*request.inputs, *request.outputs):
            if spec.dtype is not DType.FLOAT32 or -1 in spec.shape:
                raise RouteError(
                    f"ncnn takes float32 of fixed shape; {spec.name!r} is {spec.dtype.value}{list(spec.shape)}",
                    hint="another runtime takes it: edgectl inspect CHECKPOINT",
                )
        import onnx

        progress("converting with pnnx")
        model = onnx.load(request.graph)
        ports = {f"in{at}": value.name for at, value in enumerate(model.graph.input)}
        ports |= {f"out{at}": value.name for at, value in enumerate(model.graph.output)}
        with tempfile.TemporaryDirectory(prefix="edgectl-") as folder:
            onnx.save(model, str(Path(folder) / "model.onnx"))
            _convert(Path(folder))
            param = (Path(folder) / "model.ncnn.param").read_text()
            if foreign := _FOREIGN.search(param):
                raise OperatorError(
                    f"ncnn does not know the operator {foreign['kind'].rpartition('.')[2]}",
                    hint="another runtime may: --runtime NAME",
                )
            (Path(request.out) / _ENTRY).write_text(_named(param, ports))
            shutil.copyfile(Path(folder) / "model.ncnn.bin", Path(request.out) / "model.bin")
        return Built(_ENTRY, settings={"fp16": "0"})


def _convert(folder: Path) -> None:
    """Run pnnx on model.onnx in this folder."""
    command = [str(_program()), "model.onnx", "fp16=0"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise ToolchainError(f"pnnx did not end in {_TIMEOUT_S:g} s") from exc
    said = done.stderr + done.stdout
    if done.returncode or not (folder / "model.ncnn.param").is_file():
        for pattern in _UNKNOWN_OPERATOR:
            if found := pattern.search(said):
                raise OperatorError(f"ncnn does not know the operator {found['op']}")
        raise ToolchainError(f"pnnx ended with {done.returncode}: {' '.join(said.split())[-300:]}")


def _named(param: str, ports: dict[str, str]) -> str:
    """The net with its ports' blobs called what the manifest calls them."""
    lines = param.splitlines()
    for at, line in enumerate(lines[2:], 2):
        kind, name, bottoms, tops, *rest = line.split()
        blobs = int(bottoms) + int(tops)
        rest[:blobs] = [ports.get(blob, blob) for blob in rest[:blobs]]
        lines[at] = " ".join((kind, name, bottoms, tops, *rest))
    return "\n".join(lines) + "\n"


def _program() -> Path:
    """pnnx's own program, beside its Python package."""
    import importlib.util

    spec = importlib.util.find_spec("pnnx")
    if spec is None or spec.origin is None:
        raise ToolchainError("the ncnn toolchain has no pnnx", hint="make it again: edgectl toolchain make ncnn")
    return Path(spec.origin).with_name("pnnx")
