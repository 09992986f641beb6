"""Hexagon processors (HTP) of Snapdragon: a context binary by ONNX Runtime's QNN provider, from static QDQ.

Facts: a context is for one SoC, one architecture of its processor and one version of the SDK, and one for another SoC
loads and runs without a word, so all three go to the device with the context's digest; the library numbers tensors by a
counter of the whole process, so each context is made in a process of its own: equal conversions give equal bytes; the
simulator's 16-bit Reciprocal is wrong (a cosine of 0.54 on a SmolVLA step), its Div is right; what the provider does
not take would be computed on the CPU without a word, which is refused; a LayerNormalization is taken with weights of
uint8 and not of int8; a layer that is left in floats between rounded ones is rounded all the same, so none is kept. The
types in which the graph is computed are read back from what the provider composes for the processor: floats left in it
are computed in half precision there.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import multiprocessing
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgectl_converters.targets.base import BuildRequest, Built, Target
from edgectl_converters.targets.calibration import read_calibration
from edgectl_converters.targets.onnx_constants import fold_constants
from edgectl_converters.targets.onnx_convolutions import fold_scales
from edgectl_converters.targets.onnx_files import external_files
from edgectl_protos.domain.artifact import precision_of
from edgectl_protos.domain.bundle import GateResult
from edgectl_protos.domain.errors import OperatorError, PrecisionError, RouteError, ToolchainError

__all__ = ["QnnTarget"]

_PROVIDER = "QNNExecutionProvider"
_COMPATIBILITY = f"ep_compatibility_info.{_PROVIDER}"
_SOC, _ARCH = "soc_id", "htp_arch"
_ENTRY, _CONTEXT = "model.onnx", "model.bin"
_ACTIVATIONS = {"w8a8": "QUInt8", "w8a16": "QUInt16"}
_UNKNOWN_OPERATOR = (
    re.compile(r"No Op registered for (?P<op>\S+)"),
    re.compile(r"(?P<op>[^\s:]+)\(-?\d+\) is not a registered function/op"),
)
# The provider's own codes of element types.
_TYPES = {0x408: "int8", 0x308: "int8", 0x416: "int16", 0x316: "int16", 0x216: "fp16", 0x232: "fp16"}
_NEARLY_ALL = 0.9
"""A product whose first factor is constant is left in floats."""
_WITH_WEIGHTS = frozenset({"Conv2d", "Conv3d", "DepthWiseConv2d", "TransposeConv2d", "FullyConnected", "MatMul"})


@dataclass(frozen=True, slots=True)
class _Compiled:
    """What a process that made a context says. `outside` are operators that the processor does not take, `kernels`
    counts those with weights by precision; `problem` is the library's own words where there is no context.
    """

    outside: tuple[str, ...] = ()
    kernels: tuple[tuple[str, int], ...] = ()
    compatibility: str = ""
    problem: str = ""


class QnnTarget(Target):
    """Snapdragon's Hexagon processor; its simulator on x86."""

    name = "qnn"
    toolchain = "qnn"
    home: ClassVar[str] = "qnn"
    reads = ("onnx",)
    schemes = tuple(_ACTIVATIONS)
    reads_options = (_SOC, _ARCH)
    packages = ("onnx", "onnxruntime", "onnxruntime-qnn", "numpy")

    def needs_calibration(self, scheme: str) -> bool:
        """Every tensor has a range."""
        return True

    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Quantise the graph, and have the provider make a context of it for the board's SoC.

        Raises:
            RouteError: the board names no SoC, or a port has a free shape.
            OperatorError: an operator is not known, or would stay outside of the processor.
            PrecisionError: operators with weights would compute in another precision.
            ToolchainError: the provider makes no context.
        """
        soc, arch = self._soc_of(request)
        calls = read_calibration(request)
        progress(f"quantising {request.component} to {request.scheme} with {len(calls)} captured calls")
        with tempfile.TemporaryDirectory(prefix="edgectl-") as folder:
            work = Path(folder)
            rewritten = _quantise(Path(request.graph), calls, request.scheme, work)
            progress(f"making the context of {request.component} for SoC {soc}")
            made = _compiled_apart(work, soc, arch)
            if made.outside:
                raise OperatorError(
                    f"the Hexagon processor does not take {', '.join(made.outside)}",
                    hint="another runtime does: --runtime, and edgectl inspect",
                )
            if made.problem:
                raise ToolchainError(f"no context was made of {request.component}: {made.problem}")
            precisions = _precision_gate(made, request)
            context = (work / "made_qnn.bin").read_bytes()
            (Path(request.out) / _CONTEXT).write_bytes(context)
            (Path(request.out) / _ENTRY).write_bytes(_renamed(work / "made.onnx"))
        digest = hashlib.sha256(context).hexdigest()
        precision = precision_of(request.scheme)
        options = {_SOC: soc, _ARCH: arch, "compatibility": made.compatibility, "precision": precision}
        settings = {
            "format": "QDQ",
            "activations": _ACTIVATIONS[request.scheme].lower().removeprefix("q"),
            "weights": "uint8, of convolutions per channel",
            "calibration_calls": str(len(calls)),
            "reciprocals": f"{rewritten} written as divisions",
        }
        placed = GateResult("placement", request.component, 1.0, 1.0, True, "one context holds every operator")
        return Built(_ENTRY, options | {"context_sha256": digest}, settings, gates=(placed, precisions))

    def _soc_of(self, request: BuildRequest) -> tuple[str, str]:
        for spec in (*request.inputs, *request.outputs):
            if -1 in spec.shape:
                raise RouteError(
                    f"a context has fixed shapes; {spec.name!r} is {list(spec.shape)}",
                    hint="fix them: edgectl convert --shape NAME=1,3,224,224",
                )
        soc, arch = (request.options.get(key, "") for key in (_SOC, _ARCH))
        if not soc or not arch:
            raise RouteError(
                f"a context is for one SoC, and the board does not say {_SOC} and {_ARCH}",
                hint="name a board that does: edgectl convert --board NAME",
            )
        return soc, arch.removeprefix("v")


def _quantise(graph: Path, calls: list[dict[str, Any]], scheme: str, work: Path) -> int:
    """Write qdq.onnx; how many reciprocals were rewritten."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config, qnn_preprocess_model

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hands out the captured calls one by one."""

        def __init__(self) -> None:
            self._calls = iter(calls)

        def get_next(self) -> Any:
            """The next call, or None."""
            return next(self._calls, None)

    beside = bool(external_files(graph))
    model = onnx.load(str(graph))
    fold_constants(model)
    fold_scales(model)
    rewritten = divide(model)
    for index, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{index}"
    prepared, fused = work / "prepared.onnx", work / "fused.onnx"
    onnx.save(model, str(prepared), save_as_external_data=beside)
    try:
        if qnn_preprocess_model(str(prepared), str(fused), save_as_external_data=beside):
            prepared = fused
        config = get_qnn_qdq_config(
            str(prepared),
            Reader(),
            activation_type=QuantType[_ACTIVATIONS[scheme]],
            weight_type=QuantType.QUInt8,
            per_channel=True,
        )
        quantize(str(prepared), str(work / "qdq.onnx"), config)
    except Exception as exc:
        for pattern in _UNKNOWN_OPERATOR:
            if found := pattern.search(str(exc)):
                raise OperatorError(f"the quantizer does not know the operator {found['op']}") from exc
        raise
    return rewritten


def divide(model: Any) -> int:
    """Write `x * Reciprocal(s)` as `x / s`, in place; how many products there were."""
    from onnx import helper

    reciprocals = {node.output[0]: node for node in model.graph.node if node.op_type == "Reciprocal"}
    rewritten = 0
    for node in model.graph.node:
        found = next((side for side in (0, 1) if node.op_type == "Mul" and node.input[side] in reciprocals), None)
        if found is not None:
            division = [node.input[1 - found], reciprocals[node.input[found]].input[0]]
            node.CopyFrom(helper.make_node("Div", division, list(node.output), name=node.name))
            rewritten += 1
    used = {name for node in model.graph.node for name in node.input} | {port.name for port in model.graph.output}
    for name, node in reciprocals.items():
        if name not in used:
            model.graph.node.remove(node)
    return rewritten


def _compiled_apart(work: Path, soc: str, arch: str) -> _Compiled:
    """Make the context in a process of its own, which the library may end."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_compile, str(work), soc, arch).result()
        except BrokenProcessPool as exc:
            raise ToolchainError("the provider ended its process while it made a context") from exc


def _compile(work: str, soc: str, arch: str) -> _Compiled:
    """qdq.onnx → made.onnx and made_qnn.bin."""
    import onnx
    import onnxruntime

    # By name: type checkers run where it is not installed.
    library = importlib.import_module("onnxruntime_qnn")
    onnxruntime.register_execution_provider_library(_PROVIDER, library.get_library_path())
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == _PROVIDER][:1]
    made = Path(work) / "made.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    entries = {"ep.context_enable": "1", "ep.context_file_path": str(made), "ep.context_embed_mode": "0"}
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    settings = {
        "backend_path": library.get_qnn_htp_path(),
        "soc_model": soc,
        "htp_arch": arch,
        "offload_graph_io_quantization": "0",
        "dump_json_qnn_graph": "1",
        "json_qnn_graph_dir": work,
    }
    options.add_provider_for_devices(devices, settings)
    try:
        # As bytes: its path would be part of the context's name.
        onnxruntime.InferenceSession(Path(work, "qdq.onnx").read_bytes(), options)
    except Exception as exc:  # noqa: BLE001 - the library's errors have no common class, and do not cross processes
        return _Compiled(problem=" ".join(str(exc).split())[-400:])
    if not made.exists():
        model = onnx.load(f"{work}/qdq.onnx", load_external_data=False)
        return _Compiled(outside=_kinds(model))
    model = onnx.load(str(made), load_external_data=False)
    nodes = [node for node in model.graph.node if node.op_type != "EPContext"]
    if nodes or len(model.graph.node) != 1:
        return _Compiled(outside=_kinds(model) or ("all of it at once",))
    found = {entry.key: entry.value for entry in model.metadata_props}
    return _Compiled(kernels=_kernels(Path(work)), compatibility=found.get(_COMPATIBILITY, ""))


def _kinds(model: Any) -> tuple[str, ...]:
    rounding = {"QuantizeLinear", "DequantizeLinear", "EPContext"}
    kinds = {node.op_type for node in model.graph.node}
    return tuple(sorted(kinds - rounding or kinds - {"EPContext"}))


def _kernels(work: Path) -> tuple[tuple[str, int], ...]:
    """Operators with weights by the precision of what enters them, as the provider composed them."""
    counted: Counter[str] = Counter()
    for file in work.glob("*.json"):
        graph = json.loads(file.read_text()).get("graph", {})
        for node in graph.get("nodes", {}).values():
            if node["type"] in _WITH_WEIGHTS:
                kind = graph["tensors"][node["input_names"][0]]["data_type"]
                counted[_TYPES.get(kind, hex(kind))] += 1
    return tuple(sorted(counted.items()))


def _precision_gate(made: _Compiled, request: BuildRequest) -> GateResult:
    """That nearly all operators with weights compute in the scheme's precision.

    Raises:
        PrecisionError: they do not.
    """
    asked, total = precision_of(request.scheme), sum(count for _, count in made.kernels)
    share = dict(made.kernels).get(asked, 0) / total if total else 1.0
    note = ", ".join(f"{count} in {precision}" for precision, count in made.kernels) or "none"
    if share < _NEARLY_ALL:
        raise PrecisionError(
            f"{request.scheme} was asked for; operators with weights would be computed {note}",
            hint=f"ask for another: --scheme {', '.join(_ACTIVATIONS)}",
        )
    return GateResult("operators", request.component, round(share, 3), _NEARLY_ALL, True, f"with weights: {note}")


def _renamed(made: Path) -> bytes:
    """The graph around the context, with the context's name in the release."""
    import onnx

    model = onnx.load(str(made), load_external_data=False)
    for attribute in model.graph.node[0].attribute:
        if attribute.name == "ep_cache_context":
            attribute.s = _CONTEXT.encode()
    return bytes(model.SerializeToString(deterministic=True))
