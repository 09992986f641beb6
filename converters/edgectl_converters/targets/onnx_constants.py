"""What an ONNX graph computes from constants alone, computed once: quantizers do not look behind a constant."""

from __future__ import annotations

from typing import Any

__all__ = ["fold_constants"]

_ROUNDING = frozenset({"QuantizeLinear", "DequantizeLinear"})


def fold_constants(model: Any) -> None:
    """Put constants in the place of nodes that see constants alone, in place; those with graphs inside stay, and those
    that round: they say in what is computed.
    """
    import onnxruntime
    from onnx import AttributeProto, helper, numpy_helper

    graph = model.graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    inner = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
    folded, outputs = [], set()
    for node in graph.node:
        fixed = all(not name or name in known or name in outputs for name in node.input)
        whole = node.op_type in _ROUNDING or any(attribute.type in inner for attribute in node.attribute)
        if node.input and fixed and not whole:
            folded.append(node)
            outputs.update(node.output)
    kept = [node for node in graph.node if node.output[0] not in outputs]
    used = {name for node in kept for name in node.input} | {port.name for port in graph.output}
    wanted = sorted(outputs & used)
    if not wanted:
        return
    entering = [known[name] for name in sorted({name for node in folded for name in node.input if name in known})]
    ports = [helper.make_empty_tensor_value_info(name) for name in wanted]
    alone = helper.make_model(
        helper.make_graph(folded, "constants", [], ports, entering),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )
    session = onnxruntime.InferenceSession(alone.SerializeToString(), providers=["CPUExecutionProvider"])
    graph.initializer.extend(
        numpy_helper.from_array(values, name) for name, values in zip(wanted, session.run(wanted, {}), strict=True)
    )
    del graph.node[:]
    graph.node.extend(kept)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used | set(wanted)]:
        graph.initializer.remove(tensor)
