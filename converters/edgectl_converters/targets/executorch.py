"""ExecuTorch: a `.pte` for XNNPACK, fp32 or with integer weights; one that is there already is copied.

Facts: its gelu is the one by erf whatever the graph says, its attention spends most of its time on a mask that nobody
has, and it keeps what an assertion keeps alive: `torch_graphs.prepare` writes all three another way. Its quantizer
(PT2E) folds a normalisation once for each call of a shared backbone, into the same weights, so they are folded before;
it takes layers by their operator, since those inside of `MultiheadAttention` are no modules; ranges are the extremes
over all calls. On x86 its LayerNorm is wrong in fp16, and in bf16 nothing reaches XNNPACK: neither is offered. What
lowers may still not load, and then says a number: it is loaded and run in a fresh process. Weights of 4 bits are taken
in groups of 32 along their rows, where those divide by it.
"""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from edgectl_converters.targets.base import BuildRequest, Built, Ranking, Target
from edgectl_converters.targets.calibration import read_calibration
from edgectl_converters.targets.sensitivity import (
    held_out,
    kept,
    kept_settings,
    rank_layers,
)
from edgectl_converters.targets.torch_graphs import examples, prepare, read_module, tensors
from edgectl_converters.targets.torch_nodes import layers_of
from edgectl_converters.targets.torch_rounding import as_modules, only_rounded
from edgectl_protos.codec.pte import PteMethod, read_pte
from edgectl_protos.domain.bundle import GateResult
from edgectl_protos.domain.errors import OperatorError, PrecisionError

__all__ = ["ExecutorchTarget"]

_ENTRY, _METHOD, _PORTS = "model.pte", "forward", "edgectl_ports"
_STATIC, _DYNAMIC, _FOUR_BITS = "int8", "int8-dynamic", "w4g32a8-dynamic"
_GROUP = 32
_KINDS = {"default": ("linear", "conv2d"), "convolutions": ("conv2d",)}
_LINEAR = ("linear",)
_INTEGERS = {"qint8", "qcint8", "qbint4", "qcint4"}
_HEAVY = {"FullyConnected", "Conv2d", "DepthwiseConv2d", "ConvTranspose2d", "BatchMatrixMultiply"}
_HEAVY |= {"ScaledDotProductAttention"}
_HEAVY_OUTSIDE = re.compile(r"aten::(addmm|mm|bmm|matmul|linear|convolution|_scaled_dot_product\w*)\b")
_UNKNOWN_OPERATORS = (
    re.compile(r"Operator (?P<op>[\w.]+) is not in Core ATen"),
    re.compile(r"Missing out variants: \{(?P<op>[^}]+)\}"),
    re.compile(r"(?P<op>\w+(?:::|\.)[\w.]+) is not (?:supported|registered)"),
)
_LOAD_S = 600.0
_LOAD = """
import sys, torch
from executorch.extension.pybindings import _C
program = _C._load_program(sys.argv[1])
method = program.load_method("forward")
meta, kinds = method.method_meta(), {0: torch.uint8, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.int64,
    5: torch.float16, 6: torch.float32, 7: torch.float64, 11: torch.bool}
infos = [meta.input_tensor_meta(at) for at in range(meta.num_inputs())]
method([torch.zeros(info.sizes(), dtype=kinds[info.dtype()]) for info in infos])
"""


class ExecutorchTarget(Target):
    """XNNPACK by ExecuTorch."""

    name = "executorch"
    toolchain = "executorch"
    home = "executorch"
    reads = ("pt2", "pte")
    takes_bytes = False
    schemes = ("fp32", _STATIC, _DYNAMIC, _FOUR_BITS)
    searched: ClassVar = {_STATIC: tuple(_KINDS), _FOUR_BITS: ("default",)}
    packages = ("executorch", "torch", "torchao", "numpy")

    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Lower the program, load it in a fresh process, and read back what is in it.

        Raises:
            OperatorError: an operator cannot be lowered, or the file that was written does not load.
            PrecisionError: the bulk of it is not on XNNPACK, or not in the scheme.
        """
        out = Path(request.out) / _ENTRY
        settings: dict[str, str] = {}
        if request.form == "pte":
            shutil.copyfile(request.graph, out)
        else:
            module = _prepared(request)
            if request.scheme != "fp32":
                module, settings = _quantised(module, request, progress)
            progress(f"lowering {request.component} to XNNPACK")
            out.write_bytes(_lowered(module, request))
        progress(f"loading {request.component} in a fresh process")
        _check_that_it_loads(out)
        return Built(_ENTRY, settings=settings, gates=_gates(read_pte(out)[_METHOD], request))

    def rank(self, request: BuildRequest, progress: Callable[[str], None]) -> Ranking:
        """Each layer alone in the scheme, as torch computes it."""
        calls = read_calibration(request)
        seen, held = held_out(calls)
        module = _prepared(request)
        names = tuple(_roundable(module, request))
        exact = _outputs(module, held, request)
        rounded = _calibrated(module, names, seen, request, fold=False) if request.scheme == _STATIC else None

        def outputs_with(chosen: Sequence[str]) -> list[dict[str, Any]]:
            if rounded is None:
                return _outputs(_in_four_bits(copy.deepcopy(module), chosen), held, request)
            trial = copy.deepcopy(rounded)
            only_rounded(trial, chosen)
            return _outputs(trial, held, request)

        return Ranking(rank_layers(names, exact, outputs_with, progress))


def _prepared(request: BuildRequest) -> Any:
    module = read_module(Path(request.graph))
    prepare(module)
    return module


def _roundable(module: Any, request: BuildRequest) -> dict[str, list[Any]]:
    """Layers that the scheme rounds, by name."""
    if request.scheme == _STATIC:
        return layers_of(module, _KINDS.get(request.variant, _KINDS["default"]))
    layers = layers_of(module, _LINEAR)
    if request.scheme == _DYNAMIC:
        return layers
    return {name: nodes for name, nodes in layers.items() if nodes[0].args[1].meta["val"].shape[-1] % _GROUP == 0}


def _quantised(module: Any, request: BuildRequest, progress: Callable[[str], None]) -> tuple[Any, dict[str, str]]:
    layers, left = _roundable(module, request), kept(request.variant, request.ranking)
    chosen = [name for name in layers if name not in left]
    settings = kept_settings(left, layers) | {"weights": "int8 per channel", "activations": "int8, found at each call"}
    progress(f"quantising {request.component} to {request.scheme} ({request.variant})")
    if request.scheme == _FOUR_BITS:
        return _in_four_bits(module, chosen), settings | {"weights": f"int4 in groups of {_GROUP}"}
    calls = read_calibration(request) if request.scheme == _STATIC else []
    if calls:
        settings |= {"activations": "int8", "calibration_calls": str(len(calls))}
    return _calibrated(module, chosen, calls, request, fold=True), settings


def _calibrated(
    module: Any, chosen: Collection[str], calls: Sequence[dict[str, Any]], request: BuildRequest, *, fold: bool
) -> Any:
    """These layers rounded to int8 by PT2E; ranges found at each call where there are no calls to look at."""
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e import MinMaxObserver
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=not calls)
    if calls:
        observer = MinMaxObserver.with_args(eps=2**-12)
        config = replace(
            config,
            input_activation=replace(config.input_activation, observer_or_fake_quant_ctr=observer),
            output_activation=replace(config.output_activation, observer_or_fake_quant_ctr=observer),
        )
    layers = layers_of(module)
    rounded = {node.name for name, nodes in layers.items() if name in chosen for node in nodes}
    weighted = {torch.ops.aten.linear.default, torch.ops.aten.conv2d.default}
    quantizer = XNNPACKQuantizer()
    for operator in sorted(weighted, key=str):
        quantizer.set_operator_type(operator, config)
    quantizer.set_filter_function(lambda node: node.target not in weighted or node.name in rounded)
    prepared = prepare_pt2e(module, quantizer)
    with torch.no_grad():
        # The ranges of weights are looked at by the first call, whatever enters.
        for entering in [tensors(call, request.inputs) for call in calls] or [examples(request.inputs)]:
            prepared(*entering)
        return convert_pt2e(prepared, fold_quantize=fold)


def _in_four_bits(module: Any, chosen: Collection[str]) -> Any:
    import torch
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
    from torchao.quantization.granularity import PerGroup

    names = as_modules(module, chosen)
    config = Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4, weight_granularity=PerGroup(_GROUP))
    quantize_(module, config, lambda _, name: name in names)
    return module


def _outputs(module: Any, calls: Sequence[dict[str, Any]], request: BuildRequest) -> list[dict[str, Any]]:
    import torch

    found = []
    with torch.no_grad():
        for call in calls:
            values = module(*tensors(call, request.inputs))
            values = values if isinstance(values, (tuple, list)) else (values,)
            found.append({spec.name: value.numpy() for spec, value in zip(request.outputs, values, strict=True)})
    return found


def _lowered(module: Any, request: BuildRequest) -> bytes:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
        XnnpackDynamicallyQuantizedPartitioner,
        XnnpackPartitioner,
    )
    from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower
    from executorch.exir.passes import MemoryPlanningPass

    # What enters is read where it lies, and not copied to a place of the program's own.
    memory = ExecutorchBackendConfig(memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False))
    partitioners = [XnnpackPartitioner()]
    if request.scheme in (_DYNAMIC, _FOUR_BITS):
        partitioners.insert(0, XnnpackDynamicallyQuantizedPartitioner())
    ports = ["\t".join(spec.name for spec in specs) for specs in (request.inputs, request.outputs)]
    try:
        with torch.no_grad():
            program = torch.export.export(module, examples(request.inputs), strict=False)
        edge = to_edge_transform_and_lower(program, partitioner=partitioners, constant_methods={_PORTS: ports})
        return bytes(edge.to_executorch(memory).buffer)
    except Exception as exc:  # the lowering raises whatever its passes do
        said = " ".join(str(exc).split())
        for pattern in _UNKNOWN_OPERATORS:
            if found := pattern.search(said):
                raise OperatorError(
                    f"executorch does not know the operator {found['op']}", hint="another runtime may: --runtime NAME"
                ) from exc
        raise OperatorError(
            f"executorch does not lower {request.component}: {type(exc).__name__}: {said[:300]}",
            hint="another runtime may: --runtime NAME",
        ) from exc


def _check_that_it_loads(file: Path) -> None:
    """Load and run it once, where nothing of the lowering is left."""
    command = [sys.executable, "-W", "ignore", "-c", _LOAD, str(file)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_LOAD_S, check=False)
        status, said = f"status {done.returncode}", done.stderr.strip().splitlines()
    except subprocess.TimeoutExpired:
        status, said = f"no end in {_LOAD_S:g} s", []
    if status != "status 0":
        raise OperatorError(
            f"executorch lowers it to a file that does not load and run ({status}): {' | '.join(said[-2:])[:400]}",
            hint="another scheme or runtime may: --scheme fp32, --runtime NAME",
        )


def _gates(method: PteMethod, request: BuildRequest) -> tuple[GateResult, ...]:
    """What stands in the file: how many of its products and convolutions are on XNNPACK, and in which types."""
    inside = sum(count for name, count in method.delegated.items() if name in _HEAVY)
    outside = {name: count for name, count in method.operators.items() if _HEAVY_OUTSIDE.match(name)}
    share = inside / (inside + sum(outside.values())) if inside or outside else 1.0
    others = ", ".join(f"{name.removeprefix('aten::')} {count}" for name, count in sorted(method.operators.items()))
    note = f"{sum(method.delegated.values())} operators in {sum(method.delegates.values())} delegates; outside: "
    if share < 0.5:
        raise PrecisionError(
            f"{request.component}: {sum(outside.values())} of its products and convolutions are outside of XNNPACK "
            f"({', '.join(sorted(outside))})",
            hint="another runtime may take them: --runtime NAME",
        )
    integers = sum(count for (_, weights), count in method.weighted.items() if weights in _INTEGERS)
    if (integers > 0) != (request.scheme != "fp32"):
        raise PrecisionError(
            f"{request.component}: {integers} of {sum(method.weighted.values())} layers have integer weights, "
            f"{request.scheme} was asked for",
            hint="ask for what it is: --scheme",
        )
    kinds = ", ".join(f"{count} {weights}" for (_, weights), count in sorted(method.weighted.items()))
    total = float(sum(method.weighted.values()))
    return (
        GateResult("placement", request.component, round(share, 4), 0.5, True, note + (others or "none")),
        GateResult("weights", request.component, float(integers), total, True, f"layers by weights: {kinds or 'none'}"),
    )
