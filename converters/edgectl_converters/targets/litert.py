"""LiteRT: a `.tflite` by litert-torch from a torch.export program, quantised by the AI Edge Quantizer.

Facts: the converter takes the module of a program whose views are decomposed; a split into one piece is lowered to a
list where a tensor is wanted, so it is taken out; 64-bit integers become 32-bit ones. Its ports are `args_0` …, which
are renamed after the component's in the file's signature. What XNNPACK does not take runs slowly in LiteRT's own
kernels, and nothing lists it: which operators it took follows from the delegates' own inputs and outputs.
"""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgectl_converters.card import PT2
from edgectl_converters.targets.base import BuildRequest, Built, Ranking, Target
from edgectl_converters.targets.calibration import read_calibration
from edgectl_converters.targets.sensitivity import (
    held_out,
    kept,
    kept_settings,
    rank_layers,
)
from edgectl_converters.targets.tflite_quantizer import (
    BITS,
    STORED,
    Layers,
    layers_of,
    outputs_of,
    quantised,
    ranges_of,
)
from edgectl_converters.tflite_graph import LAYERS, TFLITE, TfliteGraph
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.bundle import GateResult
from edgectl_protos.domain.errors import (
    CheckpointCorruptError,
    OperatorError,
    PrecisionError,
    RouteError,
    ToolchainError,
)

__all__ = ["LiteRtTarget"]

_ENTRY = "model.tflite"
_DELEGATE = "DELEGATE"
_MAX_BYTES = 2**31
"""A flatbuffer has no more, the weights in it included."""
_SOURCE_ONLY = frozenset({DType.FLOAT64, DType.UINT64, DType.UINT32, DType.TEXT})

_HEAVY = (*LAYERS, "CONV_3D", "BATCH_MATMUL")
_UNKNOWN_OPERATOR = re.compile(r"Lowering not found: (?P<op>[\w.:]+)")
_UNRESOLVED = re.compile(r"unresolved custom op: (?P<op>[^\s.]+)")
_DATA_DEPENDENT = ("ConcretizationTypeError", "GuardOnDataDependentSymNode")


class LiteRtTarget(Target):
    """LiteRT on the CPU, through XNNPACK."""

    name = "litert"
    toolchain = "litert"
    reads = (PT2, TFLITE)
    takes_bytes = False
    schemes = ("fp32", "w16/a32", "int8", "int8-dynamic", "w4a8-dynamic")
    searched: ClassVar = {"int8": ("default",)}
    packages = ("litert-torch", "ai-edge-quantizer", "ai-edge-litert", "torch", "numpy")

    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Convert and quantise; a file that is LiteRT's already is copied.

        Raises:
            OperatorError: the converter does not know an operator, or a shape depends on the data.
            RouteError: a port is of a type or shape that LiteRT does not take, or the file would be too big.
            PrecisionError: nothing of it can be or is stored as the scheme says.
            ToolchainError: the converter fails.
            CheckpointCorruptError: the file or what was written does not load.
        """
        settings, changed = {"delegate": "XNNPACK"}, {}
        if request.form == TFLITE:
            data = Path(request.graph).read_bytes()
        else:
            data = _converted(request, progress)
        if request.form != TFLITE and request.scheme in BITS:
            layers = layers_of(data, request.scheme)
            if not layers:
                raise PrecisionError(
                    f"{request.component} has no layer with weights of the kinds {', '.join(BITS[request.scheme])}",
                    hint="convert it as it is: --scheme fp32",
                )
            left = kept(request.variant, request.ranking)
            settings |= {"layers": ",".join(BITS[request.scheme])} | kept_settings(left, layers)
            ranges = {}
            if self.needs_calibration(request.scheme):
                calls = read_calibration(request)
                progress(f"quantising {request.component} ({request.variant}) with {len(calls)} captured calls")
                ranges = ranges_of(data, request.scheme, layers, calls)
                settings["calibration_calls"] = str(len(calls))
            changed = {name: members for name, members in layers.items() if name not in left}
            data = quantised(data, request.scheme, changed, ranges)
        file = Path(request.out) / _ENTRY
        file.write_bytes(data)
        # What is read back is what was written.
        placed = _placed(request, file)
        return Built(_ENTRY, settings=settings, gates=(placed, _stored(request, file, changed)))

    def rank(self, request: BuildRequest, progress: Callable[[str], None]) -> Ranking:
        """Each layer alone in int8."""
        seen, held = held_out(read_calibration(request))
        model = _converted(request, progress)
        layers = layers_of(model, request.scheme)
        ranges = ranges_of(model, request.scheme, layers, seen)

        def outputs_with(chosen: Sequence[str]) -> list[dict[str, Any]]:
            trial = {name: layers[name] for name in chosen}
            return outputs_of(quantised(model, request.scheme, trial, ranges), held)

        return Ranking(rank_layers(tuple(layers), outputs_of(model, held), outputs_with, progress))


def _converted(request: BuildRequest, progress: Callable[[str], None]) -> bytes:
    """The component in fp32, its ports named."""
    for spec in (*request.inputs, *request.outputs):
        if spec.dtype in _SOURCE_ONLY or -1 in spec.shape:
            raise RouteError(
                f"litert takes fixed shapes of float32, int32, int64, int8, uint8 and bool; {spec.name!r} is "
                f"{spec.dtype.value}{list(spec.shape)}",
                hint="another runtime takes it: edgectl inspect CHECKPOINT",
            )
    import litert_torch
    import torch

    progress(f"converting {request.component} with litert-torch {litert_torch.__version__}")
    try:
        program = torch.export.load(request.graph).run_decompositions({})
    except Exception as exc:  # torch raises anything; this is the boundary to its loader
        raise CheckpointCorruptError(
            f"torch cannot load {Path(request.graph).name} of {request.component}: {' '.join(str(exc).split())[:400]}",
            hint="is it whole, and all of its operators torch's own? export it again",
        ) from exc
    _join_single_pieces(program)
    arguments = tuple(torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype.value)) for spec in request.inputs)
    try:
        data = litert_torch.convert(program.module(), arguments).model_content()
    except Exception as exc:  # the converter raises whatever its passes do
        raise _refused(exc) from exc
    return _named(data, request)


def _refused(error: Exception) -> OperatorError | ToolchainError:
    text = f"{type(error).__name__}: {error}"
    if found := _UNKNOWN_OPERATOR.search(text):
        return OperatorError(
            f"litert does not know the operator {found['op']}", hint="another runtime may: --runtime NAME"
        )
    line = " ".join(text.split())[:400]
    if any(word in text for word in _DATA_DEPENDENT):
        return OperatorError(
            f"litert takes no shape that depends on the data: {line}", hint="another runtime may: --runtime NAME"
        )
    return ToolchainError(
        f"litert-torch does not convert the graph: {line}", hint="another runtime may: --runtime NAME"
    )


def _join_single_pieces(program: Any) -> None:
    """Take out of a torch.export program what splits a tensor into one piece, in place."""
    import torch

    aten = torch.ops.aten
    splits = (aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default, aten.unbind.int)
    for node in list(program.graph.nodes):
        if node.target is operator.getitem and node.args[0].target in splits and len(node.args[0].meta["val"]) == 1:
            whole = node.args[0].args[0]
            if whole.meta["val"].shape == node.meta["val"].shape:
                node.replace_all_uses_with(whole)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()


def _named(data: bytes, request: BuildRequest) -> bytes:
    """The file with the component's names in its signature.

    Raises:
        RouteError: it would be too big.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    if len(data) >= _MAX_BYTES:
        raise RouteError(
            f"{request.component} is {len(data) / 2**30:.1f} GiB in fp32; a .tflite holds 2 GiB",
            hint="another runtime takes it: --runtime NAME",
        )
    model = flatbuffer_utils.read_model_from_bytearray(data)
    (signature,) = model.signatureDefs
    for entries, specs in ((signature.inputs, request.inputs), (signature.outputs, request.outputs)):
        # The converter numbers them: args_0 …, output_0 …
        for entry in entries:
            entry.name = specs[int(bytes(entry.name).decode().rpartition("_")[2])].name
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _stored(request: BuildRequest, file: Path, changed: Layers) -> GateResult:
    """How the weights of the layers are stored, as the file says.

    Raises:
        PrecisionError: another number than was changed is stored as the scheme says.
    """
    graph = TfliteGraph(file.read_bytes())
    found = [(kind, graph.types[weights.type]) for kind, weights, _ in graph.layers()]
    wanted = {kind: STORED[bits] for kind, bits in BITS.get(request.scheme, {}).items()}
    right = sum(stored == wanted.get(kind, "FLOAT32") for kind, stored in found if kind in wanted or not wanted)
    expected = sum(len(members) for members in changed.values()) if wanted else len(found)
    words = ", ".join(f"{count} {name}" for name, count in graph.stored().items()) or "none"
    if right != expected and request.form != TFLITE:
        raise PrecisionError(
            f"{request.component}: {request.scheme} was asked for {expected} operators with weights, and {right} are "
            f"stored so; layers are stored as {words}",
            hint="ask for another: --scheme fp32",
        )
    return GateResult("weights", request.component, float(right), float(expected), True, f"layers stored as {words}")


def _placed(request: BuildRequest, file: Path) -> GateResult:
    """Which share of the operators the delegate takes here, and which of those that carry weight it leaves.

    Raises:
        OperatorError: LiteRT does not know an operator of the file.
        CheckpointCorruptError: LiteRT does not read the file.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(file), num_threads=1)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as exc:
        text = " ".join(str(exc).split())[:400]
        if found := _UNRESOLVED.search(text):
            raise OperatorError(f"litert does not know the operator {found['op']}") from exc
        raise CheckpointCorruptError(
            f"{request.component}: LiteRT does not read the .tflite: {text}",
            hint="is the file whole? copy it again, and look at the free space: df",
        ) from exc
    nodes = [node for node in interpreter._get_ops_details() if node["op_name"] != _DELEGATE]
    delegates = [node for node in interpreter._get_ops_details() if node["op_name"] == _DELEGATE]
    makers = {out: node for node in nodes for out in map(int, node["outputs"])}
    taken: set[int] = set()
    for delegate in delegates:
        # What leads from its outputs back to its inputs is inside it.
        border, wanted = set(map(int, delegate["inputs"])), list(map(int, delegate["outputs"]))
        while wanted:
            node = makers.get(wanted.pop())
            if node is not None and node["index"] not in taken:
                taken.add(node["index"])
                wanted += [place for place in map(int, node["inputs"]) if place not in border]
    left = Counter(node["op_name"] for node in nodes if node["index"] not in taken)
    heavy = sum(left[kind] for kind in _HEAVY)
    words = ", ".join(f"{count} {kind}" for kind, count in sorted(left.items()))
    note = f"{len(taken)} of {len(nodes)} operators in {len(delegates)} XNNPACK delegates"
    note += f"; outside: {words}" if words else ""
    note += f"; {heavy} of these carry weight and are slow there" if heavy else ""
    return GateResult("placement", request.component, len(taken) / max(len(nodes), 1), 0.0, True, note)
