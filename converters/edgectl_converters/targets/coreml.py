"""Core ML for Macs, iPhones and iPads: a package of an ML Program, in float32, float16, or with integer weights.

Facts: packages are written anywhere and run on Apple's systems only, so what can be proved here is what is in one: it
is read back in a fresh process, its integer weights are counted, and each weight is compared with the program's
(mil_weights). Weights in blocks need iOS 18 or macOS 15. Ports have the types float32, float16 and int32: an int64 goes
in as int32, a bool as float32. Words of its language name no port (`state` is one), so the device is told which ports
have other names in the package. Scales are folded into convolutions here, and not by Core ML Tools, so
that weights stay what they were. The package's own index and its debug file differ from run to run: the first is
written anew, the other left out.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgectl_converters.targets.base import BuildRequest, Built, Target
from edgectl_converters.targets.mil_gates import BLOCK, FLOATS, INTEGERS, LEAST, gates_of, stays
from edgectl_converters.targets.mil_weights import read_apart, weights_in
from edgectl_converters.targets.torch_graphs import examples, fold, read_module
from edgectl_converters.targets.torch_nodes import weights_of
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import OperatorError, RouteError

__all__ = ["CoreMlTarget"]

_ENTRY, _PORTS = "model.mlpackage", "ports"
_TARGET = "deployment_target"
_TAKEN = (DType.FLOAT32, DType.FLOAT16, DType.INT32, DType.INT64, DType.BOOL)
_KNOWN = ", ".join(dtype.value for dtype in _TAKEN)
_UNKNOWN_OPERATOR = re.compile(r"(?:function for op|Unsupported fx node \S+, kind) '?(?P<op>[\w.:]+)'?")
_PLACES = {"model": "model.mlmodel", "weights": "weights"}
_AUTHOR = "com.apple.CoreML"


class CoreMlTarget(Target):
    """ML Programs in a package."""

    name = "coreml"
    toolchain = "coreml"
    reads = ("pt2", "mlpackage")
    takes_bytes = False
    schemes = tuple(FLOATS)
    reads_options = (_TARGET,)
    packages = ("coremltools", "torch", "numpy")

    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Convert the program, round its weights, and read the package back.

        Raises:
            RouteError: the board says no system, or one too old for the scheme, or a port is of a kind that Core ML
                does not take.
            OperatorError: an operator is not known, or a tensor has more axes than Core ML has.
            PrecisionError: something is stored or computed in another type than the scheme says.
            ParityError: a weight is not what it was, or not there.
            ToolchainError: the package cannot be read back.
        """
        import coremltools
        import numpy

        system = _system(request)
        _check_ports(request)
        progress(f"converting {request.component} for {system.name} with Core ML Tools {coremltools.__version__}")
        with tempfile.TemporaryDirectory(prefix="edgectl-") as folder:
            work = Path(folder)
            package, others = Path(request.out) / _ENTRY, dict[str, str]()
            if request.form == "mlpackage":
                weights: dict[str, Any] = {}
                shutil.copytree(request.graph, package)
            else:
                made, weights = _converted(request, system)
                if request.scheme in INTEGERS:
                    progress(f"rounding the weights of {request.component} to {request.scheme}")
                    made = _rounded(made, request.scheme)
                others = _write(made, request, work)
                del made
                _lay_out(work / _ENTRY, package)
            numpy.savez(work / "weights.npz", **weights)
            del weights
            progress(f"reading {request.component} back in a fresh process")
            found = read_apart(package, work / "weights.npz")
        files = sorted(path for path in package.rglob("*") if path.is_file())
        settings = {file.relative_to(package).as_posix(): f"{file.stat().st_size} bytes" for file in files}
        options = {_PORTS: json.dumps(others, sort_keys=True)} if others else {}
        return Built(_ENTRY, options, settings | {_TARGET: system.name}, gates=gates_of(found, request))


def _system(request: BuildRequest) -> Any:
    """The oldest system that the package loads on, as Core ML Tools calls it."""
    import coremltools

    said = request.options.get(_TARGET, "")
    known = {name.casefold(): one for name, one in coremltools.target.__members__.items()}
    hint = "name a board that does: edgectl convert --board NAME"
    if not said:
        raise RouteError(f"a package is for one system and later ones, and the board does not say {_TARGET}", hint=hint)
    if said.casefold() not in known:
        raise RouteError(f"Core ML Tools knows no {_TARGET} {said!r}; it knows: {', '.join(known)}", hint=hint)
    system = known[said.casefold()]
    if request.scheme == "w4g32/a16" and system < coremltools.target.iOS18:
        raise RouteError(
            f"weights of 4 bits need iOS 18 or macOS 15, and the board's {_TARGET} is {said}",
            hint="ask for another: --scheme w8/a16",
        )
    if system < coremltools.target.iOS16 and request.scheme in INTEGERS:
        raise RouteError(
            f"integer weights need iOS 16 or macOS 13, and the board's {_TARGET} is {said}",
            hint="ask for another: --scheme fp16",
        )
    return system


def _check_ports(request: BuildRequest) -> None:
    for spec in (*request.inputs, *request.outputs):
        said = f"{spec.name!r} is {spec.dtype.value}{list(spec.shape)}"
        if -1 in spec.shape or 0 in spec.shape or not 1 <= len(spec.shape) <= 5 or spec.dtype not in _TAKEN:
            raise RouteError(
                f"ports of Core ML have 1 to 5 axes of fixed length, of {_KNOWN}; {said}",
                hint="fix the shape (--shape NAME=1,3,224,224), or take another runtime: edgectl inspect CHECKPOINT",
            )


def _converted(request: BuildRequest, system: Any) -> tuple[Any, dict[str, Any]]:
    """The package's model, and the weights that went in, by name."""
    import coremltools
    import numpy as np
    import torch

    module = read_module(Path(request.graph))
    fold(module)
    weights = {name: value.detach().float().numpy() for name, value in weights_of(module).items()}
    passes = coremltools.PassPipeline.DEFAULT
    passes.remove_passes({"common::fuse_conv_batchnorm", "common::fuse_conv_scale"})
    precision = "FLOAT32" if request.scheme == "fp32" else "FLOAT16"
    types = {DType.FLOAT16: np.float16, DType.INT32: np.int32, DType.INT64: np.int32}
    outputs = [
        coremltools.TensorType(name=f"{spec.name}_out", dtype=types.get(spec.dtype, np.float32))
        for spec in request.outputs
    ]
    try:
        with torch.no_grad():
            program = torch.export.export(module, examples(request.inputs), strict=False).run_decompositions({})
        _write_known(program)
        made = coremltools.convert(
            program,
            convert_to="mlprogram",
            outputs=outputs,
            minimum_deployment_target=system,
            compute_precision=coremltools.precision[precision],
            pass_pipeline=passes,
            skip_model_load=True,
        )
    except Exception as exc:  # Core ML Tools and torch raise whatever their passes do
        said = " ".join(str(exc).split())
        hint = "another runtime may: --runtime NAME"
        if unknown := _UNKNOWN_OPERATOR.search(said):
            raise OperatorError(f"Core ML Tools does not know the operator {unknown['op']}", hint=hint) from exc
        raise OperatorError(
            f"Core ML Tools does not convert {request.component}: {type(exc).__name__}: {said[:300]}", hint=hint
        ) from exc
    return made, weights


def _write_known(program: Any) -> None:
    """Write operators that Core ML Tools does not know as ones that it does, in place."""
    import torch

    aten = torch.ops.aten
    same = {aten.alias.default, aten.detach.default, aten.lift_fresh_copy.default}
    logical = {
        aten.__and__.Tensor: aten.logical_and.default,
        aten.__or__.Tensor: aten.logical_or.default,
        aten.bitwise_and.Tensor: aten.logical_and.default,
        aten.bitwise_or.Tensor: aten.logical_or.default,
    }
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target in same:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif node.target in logical and node.meta["val"].dtype == torch.bool:
            node.target = logical[node.target]
    program.graph_module.recompile()


def _rounded(model: Any, scheme: str) -> Any:
    """The model with those weights rounded that the scheme rounds, named one by one: by their operators' kinds Core ML
    Tools would refuse what shares a bias with an operator of another kind.
    """
    from coremltools.optimize.coreml import OpLinearQuantizerConfig, OptimizationConfig, linear_quantize_weights

    stored = INTEGERS[scheme]
    blocks = {"granularity": "per_block", "block_size": BLOCK} if stored == "int4" else {"granularity": "per_channel"}
    config = OpLinearQuantizerConfig(mode="linear_symmetric", dtype=stored, weight_threshold=LEAST, **blocks)
    chosen = [weight.name for weight in weights_in(model) if not stays(weight, stored)]
    return linear_quantize_weights(model, config=OptimizationConfig(op_name_configs=dict.fromkeys(chosen, config)))


def _write(model: Any, request: BuildRequest, work: Path) -> dict[str, str]:
    """The package as Core ML Tools lays it out; ports that have another name in it than the component gives them."""
    import coremltools
    from coremltools.converters.mil.mil.passes.defs.preprocess import NameSanitizer

    spec = model.get_spec()
    taken = _names(spec)
    others = {}
    for ports, specs in ((spec.description.input, request.inputs), (spec.description.output, request.outputs)):
        for current, wanted in zip([port.name for port in ports], specs, strict=True):
            name = NameSanitizer().sanitize_name(wanted.name)
            taken.discard(current)
            while name in taken:
                name += "_"
            taken.add(name)
            coremltools.utils.rename_feature(spec, current, name)
            if name != wanted.name:
                others[wanted.name] = name
    coremltools.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True).save(str(work / _ENTRY))
    return others


def _names(spec: Any) -> set[str]:
    """Names of all values of a program."""
    found = {port.name for port in (*spec.description.input, *spec.description.output)}
    for function in spec.mlProgram.functions.values():
        for block in function.block_specializations.values():
            found |= {out.name for operation in block.operations for out in operation.outputs}
    return found


def _lay_out(made: Path, package: Path) -> None:
    """The package with an index that is the same for the same conversion."""
    from coremltools.proto import Model_pb2

    data = package / "Data" / _AUTHOR
    data.mkdir(parents=True)
    spec = Model_pb2.Model.FromString((made / "Data" / _AUTHOR / _PLACES["model"]).read_bytes())
    (data / _PLACES["model"]).write_bytes(spec.SerializeToString(deterministic=True))
    if (weights := made / "Data" / _AUTHOR / _PLACES["weights"]).is_dir():
        shutil.copytree(weights, data / _PLACES["weights"])
    entries = {
        str(uuid.uuid5(uuid.NAMESPACE_URL, f"edgectl:{place}")).upper(): {
            "author": _AUTHOR,
            "description": f"CoreML Model {'Specification' if place == 'model' else 'Weights'}",
            "name": path,
            "path": f"{_AUTHOR}/{path}",
        }
        for place, path in _PLACES.items()
        if (data / path).exists()
    }
    index = {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": next(iter(entries))}
    (package / "Manifest.json").write_text(json.dumps(index, indent=4, sort_keys=True))
