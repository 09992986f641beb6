"""OpenVINO: IR, fp32 or bf16 by hint, weights in halves, int8 and four-bit weights by NNCF.

Facts: on a processor with bf16 OpenVINO computes in bf16 unless the hint pins f32, so the hint is part of the
artifact's options; only layers with constant weights are quantised: the sums and normalisations between them, which
NNCF would take as well, cost accuracy and gain no time; NNCF averages the ranges of calls, which cuts off what tells
calls apart (an error of 0.05 of the actions' deviation on a trained policy, 0.005 with the extremes over all calls);
its scheme for transformers smooths outliers; its correction of biases took half of the time and made nothing better;
the weights of the IR stay fp32 unless the scheme says otherwise, and their types are read back from it; a group of
weights divides the depth of its matrix, or the matrix stays as it is; with four-bit weights OpenVINO rounds activations
to eight bits on its own, unless the option that does it is 0; nodes without a name of their own get one from a counter
of the whole process, which NNCF's threads advance in no fixed order; an NPU takes fixed shapes, and computes in int8
and halves.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgectl_converters.targets.base import BuildRequest, Built, Ranking, Target
from edgectl_converters.targets.calibration import read_calibration
from edgectl_converters.targets.ir_weights import (
    GROUP,
    check_groups,
    check_halves,
    compress,
    constants_of,
    grouped_layers,
)
from edgectl_converters.targets.onnx_files import external_files
from edgectl_converters.targets.sensitivity import (
    held_out,
    kept,
    kept_settings,
    rank_layers,
)
from edgectl_protos.domain.bundle import GateResult
from edgectl_protos.domain.errors import OperatorError, RouteError

__all__ = ["OpenVinoTarget"]

_UNKNOWN_OPERATOR = re.compile(r"No conversion rule found for operations: (?P<op>[^\n]+)")
_NUMBERED = re.compile(r"(?P<kind>[A-Z][A-Za-z]*)_\d+")
_HINT = "INFERENCE_PRECISION_HINT"
_CONVOLUTIONS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData")
_WITH_WEIGHTS = (*_CONVOLUTIONS, "MatMul")
_QUANTISED = {"default": _WITH_WEIGHTS, "convolutions": _CONVOLUTIONS}
_PASSED_THROUGH = ("Parameter", "Constant", "Result", "Relu", "MaxPool")
"""What does no arithmetic that int8 could harm: it is left to NNCF."""
_MOVING = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "MaxPool", "Concat", "Split", "VariadicSplit"})
_FAKE_QUANTIZE = "FakeQuantize"
_HALVES, _WEIGHT_ONLY = "w16/a32", f"w4g{GROUP}/a32"
_DEVICE = "device"


class OpenVinoTarget(Target):
    """OpenVINO on the CPU, or on the NPU where the board names it."""

    name = "openvino"
    reads = ("onnx",)
    schemes = ("fp32", "bf16", _HALVES, "int8", _WEIGHT_ONLY)
    searched: ClassVar = {"int8": tuple(_QUANTISED), _WEIGHT_ONLY: ("default",)}
    reads_options = (_DEVICE,)
    packages = ("openvino", "nncf", "numpy")

    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Write IR, quantised for int8, its weights compressed where the scheme says so.

        Raises:
            OperatorError: OpenVINO does not know an operator.
            PrecisionError: the weights that were written are of other types.
            RouteError: the board's device does not take the graph.
        """
        import openvino

        device = _device_of(request)
        progress(f"converting {request.component} to OpenVINO IR")
        model = _converted(request.graph)
        settings = {"compress_to_fp16": str(request.scheme == _HALVES).lower()}
        options = {_HINT: "bf16" if request.scheme == "bf16" else "f32"} if device == "CPU" else {_DEVICE: device}
        expected = 0
        if request.scheme == "int8":
            calls = read_calibration(request)
            progress(f"quantising {request.component} to int8 ({request.variant}) with {len(calls)} captured calls")
            operators = _QUANTISED.get(request.variant, _WITH_WEIGHTS)
            layers, left = _layers(model, operators), kept(request.variant, request.ranking)
            model = _quantise(model, calls, [node for name in layers if name not in left for node in layers[name]])
            _number_nodes(model)
            settings |= {"operators": ",".join(operators), "calibration_calls": str(len(calls))}
            settings |= kept_settings(left, layers)
        elif request.scheme == _WEIGHT_ONLY:
            progress(f"compressing the weights of {request.component} ({request.variant})")
            layers, left = grouped_layers(model, _layers(model, ("MatMul",))), kept(request.variant, request.ranking)
            chosen = [node for name in layers if name not in left for node in layers[name]]
            model, expected = compress(model, chosen), len(chosen)
            _number_nodes(model)
            options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = "0"
            settings |= {"operators": "MatMul", "weights": f"int4, groups of {GROUP}, symmetric"}
            settings |= kept_settings(left, layers)
        entry = Path(request.out) / "model.xml"
        openvino.save_model(model, str(entry), compress_to_fp16=request.scheme == _HALVES)
        gates: tuple[GateResult, ...] = ()
        if request.scheme == _HALVES:
            gates = (check_halves(openvino.Core().read_model(entry), request.component),)
        elif request.scheme == _WEIGHT_ONLY:
            gates = (check_groups(openvino.Core().read_model(entry), request.component, expected),)
        return Built("model.xml", options, settings, gates=gates)

    def rank(self, request: BuildRequest, progress: Callable[[str], None]) -> Ranking:
        """Each layer alone in its scheme."""
        seen, held = held_out(read_calibration(request))
        model = _converted(request.graph)
        weight_only = request.scheme == _WEIGHT_ONLY
        layers = grouped_layers(model, _layers(model, ("MatMul",))) if weight_only else _layers(model, _WITH_WEIGHTS)
        nodes = [node for names in layers.values() for node in names]
        quantised = None if weight_only else _quantise(model.clone(), seen, nodes)

        def outputs_with(chosen: Sequence[str]) -> list[dict[str, Any]] | None:
            wanted = [node for name in chosen for node in layers[name]]
            if quantised is None:
                trial = compress(model.clone(), wanted)
            else:
                trial = quantised.clone()
                _keep_rounding(trial, set(wanted))
            try:
                return _outputs(trial, held)
            except RuntimeError:
                # 2026.4 loses the stride of a ResNet's shortcut where only some of its convolutions are rounded.
                return None

        return Ranking(rank_layers(tuple(layers), _outputs(model, held), outputs_with, progress))


def _device_of(request: BuildRequest) -> str:
    """The board's device, if it can take such a component."""
    device = request.options.get(_DEVICE, "CPU")
    if device == "CPU":
        return device
    free = next((spec for spec in (*request.inputs, *request.outputs) if -1 in spec.shape), None)
    if free is not None:
        raise RouteError(
            f"the {device} takes fixed shapes; {free.name!r} is {list(free.shape)}",
            hint="fix them: edgectl convert --shape NAME=1,3,224,224",
        )
    if request.scheme != "int8":
        raise RouteError(f"the {device} computes in int8 and halves, not in {request.scheme}", hint="--scheme int8")
    return device


def _converted(graph: str) -> Any:
    """The graph as an OpenVINO model, its nodes numbered by their place.

    Raises:
        OperatorError: OpenVINO does not know an operator.
    """
    from openvino.frontend import OpConversionFailure

    try:
        model = _read(Path(graph))
    except (OpConversionFailure, RuntimeError) as exc:
        found = _UNKNOWN_OPERATOR.search(str(exc))
        raise OperatorError(
            f"openvino does not convert the operator {found['op']}"
            if found
            else f"openvino does not convert the graph: {' '.join(str(exc).split())}",
            hint="another runtime may: --runtime, and edgectl inspect",
        ) from exc
    _number_nodes(model)
    return model


def _read(graph: Path) -> Any:
    """The graph by OpenVINO's converter, else by its reader of bytes, which knows some operators that the other does
    not; what the first said where both fail.
    """
    import openvino
    from openvino.frontend import OpConversionFailure

    if external_files(graph):
        # Weights beside the graph stay where they are; the converter would hold them in memory twice.
        return openvino.Core().read_model(graph)
    try:
        return openvino.convert_model(str(graph))
    except (OpConversionFailure, RuntimeError) as exc:
        with contextlib.suppress(RuntimeError):
            return openvino.Core().read_model(graph.read_bytes())
        raise exc


def _layers(model: Any, operators: tuple[str, ...]) -> dict[str, list[str]]:
    """Nodes of these kinds that have weights, by the first that has them: what shares its weights is one layer."""
    layers: dict[bytes, list[str]] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() in operators:
            weights = next(filter(None, (constants_of(node.input_value(side).get_node()) for side in (1, 0))), None)
            if weights:
                digest = hashlib.sha256(b"".join(constant.get_data().tobytes() for constant in weights)).digest()
                layers.setdefault(digest, []).append(node.get_friendly_name())
    return {names[0]: names for names in layers.values()}


def _quantise(model: Any, calls: list[dict[str, Any]], layers: list[str]) -> Any:
    """The model with only these layers rounded to int8, as NNCF marks it: by FakeQuantize before them."""
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    ordered = model.get_ordered_ops()
    types = sorted({node.get_type_name() for node in ordered} - {*_WITH_WEIGHTS, *_PASSED_THROUGH})
    others = [node.get_friendly_name() for node in ordered if node.get_type_name() in _WITH_WEIGHTS]
    names = [name for name in others if name not in layers]
    return nncf.quantize(
        model,
        nncf.Dataset(calls),
        subset_size=len(calls),
        model_type=nncf.ModelType.TRANSFORMER,
        ignored_scope=nncf.IgnoredScope(types=types, names=names, validate=False),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX, disable_bias_correction=True
        ),
    )


def _keep_rounding(model: Any, layers: set[str]) -> None:
    """Take out every FakeQuantize but those before these layers."""
    ordered = model.get_ordered_ops()
    wanted = {
        found.get_friendly_name()
        for node in ordered
        if node.get_friendly_name() in layers
        for value in node.input_values()
        for found in _rounding_before(value.get_node())
    }
    for node in ordered:
        if node.get_type_name() == _FAKE_QUANTIZE and node.get_friendly_name() not in wanted:
            node.output(0).replace(node.input_value(0))


def _rounding_before(node: Any) -> list[Any]:
    """The FakeQuantize that feed a layer, through what moves values only."""
    if node.get_type_name() == _FAKE_QUANTIZE:
        return [node]
    if node.get_type_name() not in _MOVING:
        return []
    return [found for value in node.input_values() for found in _rounding_before(value.get_node())]


def _outputs(model: Any, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    import numpy as np
    import openvino

    compiled = openvino.compile_model(model, "CPU", {_HINT: "f32"})
    names = [port.any_name for port in compiled.outputs]
    found = (compiled(call) for call in calls)
    return [{name: np.array(values[name]) for name in names} for values in found]


def _number_nodes(model: Any) -> None:
    """Number by their place the nodes that the process-wide counter numbered: equal conversions give equal bytes."""
    for index, node in enumerate(model.get_ordered_ops()):
        if found := _NUMBERED.fullmatch(node.get_friendly_name()):
            node.set_friendly_name(f"{found['kind']}_{index}")
