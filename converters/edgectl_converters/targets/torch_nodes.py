"""Nodes of a torch graph: constants, new calls, layers by their weights.

Layers are linear maps and convolutions with constant weights, by the names of their weights. A constant is held under
a name with its digest, so that equal ones are held once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

__all__ = ["attribute", "call", "constant", "is_pure", "layers_of", "weights_of"]

_DIGEST = re.compile(r"_[0-9a-f]{16}$")


def attribute(module: Any, target: str) -> Any:
    """A parameter, buffer or module by its dotted name."""
    value = module
    for part in target.split("."):
        value = getattr(value, part)
    return value


def layers_of(module: Any, kinds: Sequence[str] = ("linear", "conv2d")) -> dict[str, list[Any]]:
    """Nodes of these kinds by the name of their weights: what shares them is one layer."""
    import torch

    targets = {getattr(torch.ops.aten, kind).default for kind in kinds}
    layers: dict[str, list[Any]] = {}
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target in targets and node.args[1].op == "get_attr":
            layers.setdefault(str(node.args[1].target), []).append(node)
    return layers


def weights_of(module: Any) -> dict[str, Any]:
    """Constant matrices and kernels of products, convolutions and tables, by name, each with two axes or more."""
    import torch

    places = dict.fromkeys(("linear", "convolution"), (1,)) | dict.fromkeys(("mm", "bmm", "matmul"), (0, 1))
    places |= {f"{kind}{axes}d": (1,) for kind in ("conv", "conv_transpose") for axes in (1, 2, 3)}
    places |= {"embedding": (0,), "addmm": (1, 2)}
    found: dict[str, Any] = {}
    for node in module.graph.nodes:
        kind = str(node.target).split(".")[1] if isinstance(node.target, torch._ops.OpOverload) else ""
        for place in places.get(kind, ()):
            held = node.args[place]
            if getattr(held, "op", "") == "get_attr" and attribute(module, held.target).dim() > 1:
                found[str(held.target)] = attribute(module, held.target)
    return found


def is_pure(node: Any) -> bool:
    """Whether a node gives the same for the same, and changes nothing."""
    import torch

    if isinstance(node.target, torch._ops.OpOverload):
        return torch.Tag.nondeterministic_seeded not in node.target.tags and not node.target._schema.is_mutable
    # Arithmetic of Python on sizes.
    return getattr(node.target, "__module__", "") in ("_operator", "math")


def call(module: Any, target: Any, *arguments: Any) -> Any:
    """A new node, and what it gives where that is looked at."""
    import torch

    node = module.graph.call_function(target, arguments)
    with torch.no_grad():
        node.meta = {"val": target(*torch.fx.node.map_arg(arguments, lambda one: one.meta["val"]))}
    return node


def constant(module: Any, before: Any, value: Any, name: str = "constant") -> Any:
    """A node that gives this value, held by the module."""
    with module.graph.inserting_before(before):
        held = module.graph.get_attr(_held(module, value, name))
    # Exporters look up the shape of weights there.
    held.meta = {"val": value}
    return held


def _held(module: Any, value: Any, name: str) -> str:
    """The name under which the module holds this value; equal ones are held once."""
    import torch

    digest = hashlib.sha256(repr((value.dtype, tuple(value.shape))).encode())
    digest.update(value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    name = f"{_DIGEST.sub('', name).replace('.', '_')}_{digest.hexdigest()[:16]}"
    if not hasattr(module, name):
        module.register_buffer(name, value.detach())
    return name
