"""What a graph's operators say: whether they exist, whether they draw noise, and what the graph is stored in."""

from __future__ import annotations

import math
from typing import Any

from edgectl_converters.sources.onnx_graph import STANDARD_DOMAIN, graph_inputs, nodes_of
from edgectl_protos.domain.errors import OperatorError

__all__ = ["check_operators", "foreign_operators", "stored_schemes"]

_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
_HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_INTEGER = frozenset(
    {
        *("QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat"),
        *("DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention"),
    }
)
_FLOATS = {1: "fp32", 10: "fp16", 11: "fp32", 16: "bf16"}


def check_operators(model: Any) -> None:
    """Refuse what no opset defines, and what draws its own noise: no two runs of it agree.

    Raises:
        OperatorError: with the operator and its node.
    """
    import onnx

    opsets = {entry.domain or STANDARD_DOMAIN: entry.version for entry in model.opset_import}
    own = {(function.domain, function.name) for function in model.functions}
    for node in _all_nodes(model):
        if (node.domain, node.op_type) in own or _foreign(node):
            continue
        where = _where(node)
        if node.op_type in _RANDOM:
            raise OperatorError(
                f"the graph draws its own noise by {where}: no run could be compared with another",
                hint="export it again with the noise as an input, which a policy.yaml then draws: op: noise, "
                "see docs/policy-file.md",
            )
        domain = node.domain or STANDARD_DOMAIN
        try:
            onnx.defs.get_schema(node.op_type, opsets.get(domain, 1), "" if domain == STANDARD_DOMAIN else domain)
        except onnx.defs.SchemaError as exc:
            raise OperatorError(
                f"the graph has {where}, which {domain} opset {opsets.get(domain)} does not define",
                hint="export the graph again with standard operators",
            ) from exc


def foreign_operators(model: Any) -> list[str]:
    """Operators outside of the standard, with their nodes, which a runtime may know or not."""
    own = {(function.domain, function.name) for function in model.functions}
    return [_where(node) for node in _all_nodes(model) if _foreign(node) and (node.domain, node.op_type) not in own]


def stored_schemes(model: Any) -> tuple[str, ...]:
    """What the graph is already, `int8` or `fp16`, and `fp32`, in which a runtime may compute it; empty for fp32.

    int8: most of its convolutions and matrix products are integer, or take what was quantised on both sides. fp16,
    bf16: most of its constants are, or what it takes where it has none.
    """
    made = {name: node.op_type for node in nodes_of(model.graph) for name in node.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    integer = total = 0
    for node in _all_nodes(model):
        if node.op_type in _INTEGER:
            integer, total = integer + 1, total + 1
        elif node.op_type in _HEAVY:
            total += 1
            operands = [name for name in node.input[:2] if name not in constants]
            integer += len(operands) == 2 and all(made.get(name) == "DequantizeLinear" for name in operands)
    if integer * 2 > total:
        return ("int8", "fp32")
    sizes: dict[str, int] = {}
    for tensor in model.graph.initializer:
        if tensor.data_type in _FLOATS:
            scheme = _FLOATS[tensor.data_type]
            sizes[scheme] = sizes.get(scheme, 0) + math.prod(tensor.dims)
    for value in graph_inputs(model) if not sizes else ():
        kind = value.type.tensor_type
        if kind.elem_type in _FLOATS:
            scheme = _FLOATS[kind.elem_type]
            sizes[scheme] = sizes.get(scheme, 0) + math.prod(dim.dim_value for dim in kind.shape.dim)
    most = max(sizes, key=lambda scheme: sizes[scheme], default="fp32")
    return () if most == "fp32" else (most, "fp32")


def _all_nodes(model: Any) -> list[Any]:
    return [*nodes_of(model.graph), *(node for function in model.functions for node in nodes_of(function))]


def _foreign(node: Any) -> bool:
    return node.domain not in ("", STANDARD_DOMAIN) and not node.domain.startswith(f"{STANDARD_DOMAIN}.")


def _where(node: Any) -> str:
    domain = f" of {node.domain!r}" if node.domain not in ("", STANDARD_DOMAIN) else ""
    name = node.name or (f"that writes {node.output[0]}" if node.output else "without a name")
    return f"the operator {node.op_type!r}{domain} (node {name!r})"
