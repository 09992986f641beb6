"""The build step: folded graph → artifact → gates. Runs in a toolchain process, by request."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgectl_converters.gates import TOLERANCES, check_parity, check_precision
from edgectl_converters.passes.fold_frames import fold_frames
from edgectl_converters.targets.base import Built
from edgectl_converters.targets.registry import target
from edgectl_protos.codec.document import from_document, to_document
from edgectl_protos.domain.artifact import Precision
from edgectl_protos.domain.bundle import GateResult
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointError, ParityError
from edgectl_protos.domain.loop import Feature, FeatureKind, Policy

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["build"]

_GOLDEN_HINT = "without golden cases nothing is proved; write them anew: edgectl export CHECKPOINT"


def build(request: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """Build `runtime` at `precision` from `export` into `out`; the result has artifact, options, settings and gates.

    `calibration` is an .npz of raw observations; `arrays` the processing arrays.

    Raises:
        CheckpointError: the golden data cannot judge the policy.
        GateError: a gate said no.
        OperatorError: the runtime does not know an operator.
    """
    import onnx

    export, out = Path(request["export"]), Path(request["out"])
    policy = from_document(Policy, request["policy"], what="policy")
    precision = Precision(request["precision"])
    arrays = _npz(request["arrays"]) if request["arrays"] else {}
    model = onnx.load(str(export / "full.onnx"))
    folded = fold_frames(model, policy.observations, arrays)
    graph = Path(request["work"]) / "folded.onnx"
    onnx.save(model, str(graph))
    specs = _specs(model)
    golden = _golden(export / "golden.npz", policy, specs)
    chosen = target(request["runtime"])
    calibration = []
    if precision is Precision.INT8:
        raw = _npz(request["calibration"])
        calibration = [_graph_inputs(policy, raw, case, arrays, folded, specs) for case in _cases(raw)]
    prefixed = {key[3:]: values for key, values in golden.items() if key.startswith("in.")}
    cases = [_graph_inputs(policy, prefixed, case, arrays, folded, specs) for case in _cases(prefixed)]

    def attempt(variant: str) -> tuple[Built, list[GateResult]]:
        built = chosen.build(graph, out, precision, variant, calibration, progress)
        progress("checking parity with the golden cases")
        evaluation = chosen.evaluate(out / built.artifact, built.options, cases)
        gates = [check_precision(precision, evaluation.precision)]
        for key, expected in golden.items():
            if key.startswith("out."):
                found = _final(key[4:], policy, arrays, evaluation.outputs, expected.shape[1:])
                gates += check_parity(key[4:], found, expected, TOLERANCES[precision])
        return built, gates

    *earlier, last = chosen.variants(precision)
    for variant in earlier:
        try:
            built, gates = attempt(variant)
            break
        except ParityError as exc:
            progress(f"{variant} did not pass: {exc.message}")
    else:
        built, gates = attempt(last)
    return {
        "artifact": built.artifact,
        "options": built.options,
        "settings": built.settings,
        "folded": folded,
        "specs": specs,
        "cases": len(cases),
        "gates": to_document(gates),
    }


def _final(
    name: str, policy: Policy, arrays: dict[str, Any], outputs: list[dict[str, Any]], shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """An output over all cases, un-normalised as the device will if it is the action."""
    import numpy as np

    tensor = policy.action.tensor if name == policy.action.name else name
    found: npt.NDArray[Any] = np.stack([case[tensor].reshape(shape) for case in outputs])
    if name == policy.action.name and policy.post:
        found = found * arrays[f"post.{name}.mul"] + arrays[f"post.{name}.add"]
    return found


def _npz(path: str | Path) -> dict[str, Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _cases(raw: dict[str, Any]) -> range:
    return range(len(next(iter(raw.values()))))


def _golden(path: Path, policy: Policy, specs: dict[str, Any]) -> dict[str, Any]:
    """Golden cases that can judge: every observation and the action, of one count, of the right shapes, finite."""
    import numpy as np

    try:
        golden = _npz(path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as exc:
        raise CheckpointCorruptError(f"the golden data cannot be read: {exc}", hint=_GOLDEN_HINT) from exc
    needed = [f"in.{feature.name}" for feature in policy.observations] + [f"out.{policy.action.name}"]
    for key in needed:
        if key not in golden:
            has = ", ".join(sorted(golden)) or "nothing"
            raise CheckpointError(f"the golden data has no {key}; it has: {has}", hint=_GOLDEN_HINT)
    shapes = {f"in.{feature.name}": feature.shape for feature in policy.observations}
    shapes |= {f"out.{name}": tuple(spec["shape"]) for name, spec in specs["outputs"].items()}
    shapes[f"out.{policy.action.name}"] = tuple(specs["outputs"][policy.action.tensor]["shape"])
    count = len(golden[needed[0]]) if golden[needed[0]].ndim else 0
    for key, values in golden.items():
        if key not in shapes:
            raise CheckpointError(f"the golden data has {key}, which the policy does not", hint=_GOLDEN_HINT)
        if not count or values.ndim == 0 or len(values) != count or values[0].size != math.prod(shapes[key]):
            raise CheckpointError(
                f"{key} of the golden data is {list(values.shape)}; expected {count} cases of {list(shapes[key])}",
                hint=_GOLDEN_HINT,
            )
        if not np.isfinite(values).all():
            raise CheckpointError(f"{key} of the golden data holds values that are not finite", hint=_GOLDEN_HINT)
    return golden


def _graph_inputs(
    policy: Policy,
    raw: dict[str, Any],
    case: int,
    arrays: dict[str, Any],
    folded: list[str],
    specs: dict[str, Any],
) -> dict[str, npt.NDArray[Any]]:
    """One case as the graph takes it: what is not folded is normalised here as the device will."""
    inputs = {}
    for feature in policy.observations:
        value = raw[feature.name][case]
        if f"pre.{feature.name}.mul" in arrays and feature.name not in folded:
            value = _normalised(feature, value, arrays)
        inputs[feature.tensor] = value.reshape(specs["inputs"][feature.tensor]["shape"])
    return inputs


def _normalised(feature: Feature, value: Any, arrays: dict[str, Any]) -> Any:
    mul, add = arrays[f"pre.{feature.name}.mul"], arrays[f"pre.{feature.name}.add"]
    if feature.kind is FeatureKind.VISUAL:
        return (value * mul + add).transpose(2, 0, 1)
    return value * mul.reshape(feature.shape) + add.reshape(feature.shape)


def _specs(model: Any) -> dict[str, Any]:
    from onnx import helper

    initializers = {initializer.name for initializer in model.graph.initializer}

    def spec(value: Any) -> dict[str, Any]:
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
        return {"dtype": dtype, "shape": [dim.dim_value for dim in value.type.tensor_type.shape.dim]}

    return {
        "inputs": {v.name: spec(v) for v in model.graph.input if v.name not in initializers},
        "outputs": {v.name: spec(v) for v in model.graph.output},
    }
