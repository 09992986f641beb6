"""Layers of a torch graph rounded, or not: what quantizers mark, and modules for those that take modules only.

Facts: PT2E puts a quantize and a dequantize on each edge that it rounds, unfolded also before weights; torchao's
weights in groups are those of `torch.nn.Linear`, which a graph of operators does not have.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from edgectl_converters.targets.torch_nodes import attribute, layers_of

__all__ = ["as_modules", "only_rounded"]


def as_modules(module: Any, chosen: Collection[str]) -> set[str]:
    """Make each use of these layers a call of a `torch.nn.Linear` of its own; the names of those modules."""
    import torch

    names: set[str] = set()
    for name, nodes in layers_of(module, ("linear",)).items():
        if name not in chosen:
            continue
        weight = attribute(module, name)
        bias = attribute(module, nodes[0].args[2].target) if len(nodes[0].args) > 2 and nodes[0].args[2] else None
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        linear.weight = torch.nn.Parameter(weight.detach(), requires_grad=False)
        if bias is not None:
            linear.bias = torch.nn.Parameter(bias.detach(), requires_grad=False)
        called = f"layer_{len(names)}"
        module.add_submodule(called, linear)
        names.add(called)
        for node in nodes:
            with module.graph.inserting_before(node):
                call = module.graph.call_module(called, (node.args[0],))
            call.meta = dict(node.meta)
            node.replace_all_uses_with(call)
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()
    return names


def only_rounded(module: Any, chosen: Collection[str]) -> None:
    """Take out every rounding of a converted module but that at these layers: what enters, their weights, and what
    leaves them, through a relu if there is one.
    """
    wanted = set()
    for name, nodes in _rounded_layers(module).items():
        for node in nodes if name in chosen else ():
            wanted |= {one for one in node.all_input_nodes if _is(one, "dequantize")}
            after = [*node.users, *(user for relu in node.users if "relu" in str(relu.target) for user in relu.users)]
            wanted |= {last for one in after if _is(one, "quantize") for last in one.users}
    for node in list(module.graph.nodes):
        if _is(node, "dequantize") and node not in wanted and _is(node.args[0], "quantize"):
            node.replace_all_uses_with(node.args[0].args[0])
    module.graph.eliminate_dead_code()
    module.recompile()


def _rounded_layers(module: Any) -> dict[str, list[Any]]:
    """Layers by the name of their weights, which may stand behind a rounding."""
    import torch

    targets = {torch.ops.aten.linear.default, torch.ops.aten.conv2d.default}
    layers: dict[str, list[Any]] = {}
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target in targets:
            weight = node.args[1]
            while weight.op == "call_function":
                weight = weight.args[0]
            layers.setdefault(str(weight.target), []).append(node)
    return layers


def _is(node: Any, what: str) -> bool:
    return getattr(node, "op", "") == "call_function" and f".{what}_per" in f".{node.target}".replace("ops.", ".")
