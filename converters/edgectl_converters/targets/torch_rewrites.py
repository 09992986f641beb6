"""Operators of a torch graph written another way, with the same numbers, for converters that get one form wrong.

Facts: attention as one operator is decomposed by converters into a search for rows without a key, which edgectl's
parts do not have; some know one gelu only, the one by erf; quantizers take a node that is marked already for one that
they did, and delegates round a bias that is shared for the first of its layers.
"""

from __future__ import annotations

from typing import Any

from edgectl_converters.targets.torch_nodes import attribute, call, constant, is_pure, layers_of

__all__ = [
    "in_half",
    "join_equals",
    "own_weights",
    "part_joins",
    "write_attention_out",
    "write_gelu_out",
    "write_normalisations_out",
    "write_padding_out",
    "write_products_out",
]

_TANH_SCALE, _TANH_CUBE = 1.5957691216057308, 0.044715
"""gelu by tanh is x * sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 * x ** 3))."""


def in_half(module: Any, dtype: Any) -> None:
    """Products and convolutions in this type, all else as it is."""
    import torch

    aten = torch.ops.aten
    heavy = {aten.linear.default, aten.conv1d.default, aten.conv2d.default, aten.matmul.default, aten.bmm.default}
    heavy |= {aten.addmm.default, aten.mm.default, aten.scaled_dot_product_attention.default}
    for node in list(module.graph.nodes):
        if node.op != "call_function" or node.target not in heavy or node.meta["val"].dtype != torch.float32:
            continue
        for entering in node.all_input_nodes:
            value = entering.meta["val"]
            if value.dtype == torch.float32:
                with module.graph.inserting_before(node):
                    halved = module.graph.call_function(aten.to.dtype, (entering, dtype))
                halved.meta = {"val": value.to(dtype)}
                node.replace_input_with(entering, halved)
        with module.graph.inserting_after(node):
            back = module.graph.call_function(aten.to.dtype, (node, torch.float32))
        back.meta = dict(node.meta)
        node.replace_all_uses_with(back, delete_user_cb=lambda user, back=back: user is not back)
    module.recompile()


def write_padding_out(module: Any) -> None:
    """A convolution without padding as the one that quantizers know."""
    import torch

    aten = torch.ops.aten
    for node in module.graph.nodes:
        if node.target is aten.conv2d.padding and node.args[4:5] in ((), ("valid",)):
            node.target = aten.conv2d.default
            before = (*node.args[:4], None, [1, 1])[:4] if len(node.args) < 3 else (*node.args[:4], [1, 1])[:4]
            node.args = (*before, [0, 0], *node.args[5:])


def write_normalisations_out(module: Any) -> None:
    """A normalisation by constant statistics as what it is: a product and a sum for each channel."""
    import torch

    aten = torch.ops.aten
    known = {aten._native_batch_norm_legit_no_training.default, aten.batch_norm.default}
    for node in list(module.graph.nodes):
        if node.target not in known or any(one.op != "get_attr" for one in node.all_input_nodes[1:]):
            continue
        inner = node.target is aten.batch_norm.default
        if inner and node.args[5]:
            continue
        x, *held = node.args[:5]
        values: list[Any] = [None if one is None else attribute(module, one.target) for one in held]
        weight, bias, mean, variance = values
        scale = torch.rsqrt(variance + node.args[7 if inner else 6])
        scale = scale if weight is None else scale * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        shape = (1, -1, *[1] * (x.meta["val"].dim() - 2))
        with module.graph.inserting_before(node):
            product = call(module, aten.mul.Tensor, x, constant(module, node, scale.reshape(shape)))
            found = call(module, aten.add.Tensor, product, constant(module, node, shift.reshape(shape)))
        (node if inner else next(iter(node.users))).replace_all_uses_with(found)
    module.graph.eliminate_dead_code()


def join_equals(module: Any) -> None:
    """Compute once what is computed from the same in the same way; views become reshapes, as layouts may differ."""
    import torch

    aten = torch.ops.aten
    first: dict[Any, Any] = {}
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target in (aten.view.default, aten._unsafe_view.default):
            node.target = aten.reshape.default
        if node.op == "get_attr" or (node.op == "call_function" and is_pure(node)):
            key = (node.target, repr(node.args), repr(sorted(node.kwargs.items())))
            known = first.setdefault(key, node)
            if known is not node:
                node.replace_all_uses_with(known)
                module.graph.erase_node(node)


def write_attention_out(module: Any) -> None:
    """scaled_dot_product_attention as two products around a softmax; a mask is added."""
    import torch

    aten = torch.ops.aten
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    for node in list(module.graph.nodes):
        if node.target is not aten.scaled_dot_product_attention.default:
            continue
        given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
        query, key, value = (node.args[at] for at in range(3))
        mask: Any = given.get("attn_mask")
        if given.get("is_causal") or given.get("enable_gqa") or given.get("dropout_p"):
            continue
        width = query.meta["val"].shape[-1]
        scale = given.get("scale") or width**-0.5
        with module.graph.inserting_before(node):
            scaled = call(module, aten.mul.Tensor, query, scale)
            scores = call(module, aten.matmul.default, scaled, call(module, aten.transpose.int, key, -2, -1))
            if mask is not None:
                if mask.meta["val"].dtype == torch.bool:
                    closed, opened = (call(module, aten.scalar_tensor.default, number) for number in (-1e9, 0.0))
                    mask = call(module, aten.where.self, mask, opened, closed)
                scores = call(module, aten.add.Tensor, scores, mask)
            found = call(module, aten.matmul.default, call(module, aten.softmax.int, scores, -1), value)
        node.replace_all_uses_with(found)
        module.graph.erase_node(node)


def write_products_out(module: Any) -> None:
    """Products of stacks of matrices of equal number as `bmm`: others copy both sides to shapes that they have."""
    import torch

    aten = torch.ops.aten
    for node in list(module.graph.nodes):
        if node.target is not aten.matmul.default:
            continue
        left, right = (one.meta["val"].shape for one in node.args)
        if len(left) < 3 or left[:-2] != right[:-2]:
            continue
        with module.graph.inserting_before(node):
            flat = [call(module, aten.reshape.default, one, [-1, *one.meta["val"].shape[-2:]]) for one in node.args]
            product = call(module, aten.bmm.default, *flat)
            found = call(module, aten.reshape.default, product, [*left[:-1], right[-1]])
        node.replace_all_uses_with(found)
        module.graph.erase_node(node)


def write_gelu_out(module: Any) -> None:
    """gelu by tanh as a sigmoid: some runtimes know one gelu only, and it is the other."""
    import torch

    aten = torch.ops.aten
    for node in list(module.graph.nodes):
        if node.target is not aten.gelu.default or node.kwargs.get("approximate") != "tanh":
            continue
        x = node.args[0]
        with module.graph.inserting_before(node):
            cubed = call(module, aten.mul.Tensor, call(module, aten.mul.Tensor, x, x), x)
            inner = call(module, aten.add.Tensor, x, call(module, aten.mul.Tensor, cubed, _TANH_CUBE))
            gate = call(module, aten.sigmoid.default, call(module, aten.mul.Tensor, inner, _TANH_SCALE))
            found = call(module, aten.mul.Tensor, x, gate)
        node.replace_all_uses_with(found)
        module.graph.erase_node(node)


def part_joins(module: Any) -> None:
    """A reshape to the shape it has between a `cat` and its only user: where a cat stands between roundings, delegates
    take it for one of equal scales, which its parts do not have.
    """
    import torch

    aten = torch.ops.aten
    for node in list(module.graph.nodes):
        if node.target is aten.cat.default and len(node.users) == 1:
            with module.graph.inserting_after(node):
                same = call(module, aten.reshape.default, node, list(node.meta["val"].shape))
            node.replace_all_uses_with(same, delete_user_cb=lambda user, same=same: user is not same)


def own_weights(module: Any) -> None:
    """A node of its own for each use of a weight: quantizers take a node that is marked already for one they did. Of a
    bias a copy as well: rounded, it has the scale of what enters, and delegates round what they share but once.
    """
    copies = 0
    for nodes in layers_of(module).values():
        for node in nodes[1:]:
            for place, held in enumerate(node.args[1:3], 1):
                if getattr(held, "op", "") != "get_attr":
                    continue
                name = held.target
                if place == 2:
                    # Layers whose biases are equal share one, too; `_copy_` is what the lowering calls its own copies.
                    name = f"{name.replace('.', '_')}_own_{copies}"
                    copies += 1
                    module.register_buffer(name, attribute(module, held.target).detach().clone())
                with module.graph.inserting_before(node):
                    own = module.graph.get_attr(name)
                own.meta = dict(held.meta)
                node.update_arg(place, own)
