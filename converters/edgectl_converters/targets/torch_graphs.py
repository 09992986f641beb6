"""torch.export programs made ready for a runtime: rewrites that compute the same numbers in a graph that runs better.

Facts: exported graphs compute the same constants at every call (positions, the scales of frozen normalisations); a
normalisation that is folded into its convolution once for each camera must not change the weights that the cameras
share; an assertion on a tensor's type keeps everything before it alive.

`read_module` gives a `torch.fx.GraphModule` called with the component's ports in their order; all else changes one in
place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgectl_converters.targets.torch_nodes import attribute, constant, is_pure
from edgectl_converters.targets.torch_rewrites import (
    join_equals,
    own_weights,
    part_joins,
    write_attention_out,
    write_gelu_out,
    write_normalisations_out,
    write_padding_out,
    write_products_out,
)
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.errors import CheckpointCorruptError

__all__ = ["examples", "fold", "fold_constants", "prepare", "read_module", "tensors"]

_BIG = 1 << 20
"""Elements that a constant may have more than what it is computed from."""


def read_module(graph: Path) -> Any:
    """The program in a file, as a module.

    Raises:
        CheckpointCorruptError: torch cannot load it.
    """
    import torch

    try:
        return torch.export.load(str(graph)).module(check_guards=False)
    except Exception as exc:  # torch raises anything; this is the boundary to its loader
        said = " ".join(str(exc).split())[:300]
        raise CheckpointCorruptError(f"torch cannot load {graph.name}: {type(exc).__name__}: {said}") from exc


def examples(specs: Sequence[TensorSpec]) -> tuple[Any, ...]:
    """Zeros in the shapes and types of these ports."""
    import torch

    return tuple(torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype.value)) for spec in specs)


def tensors(call: dict[str, Any], specs: Sequence[TensorSpec]) -> tuple[Any, ...]:
    """The arrays of a captured call as tensors, in the order of the ports."""
    import torch

    return tuple(torch.from_numpy(call[spec.name]) for spec in specs)


def prepare(module: Any) -> None:
    """As `fold`, and write attention and gelu out."""
    _fold(module)
    join_equals(module)
    write_attention_out(module)
    write_products_out(module)
    write_gelu_out(module)
    part_joins(module)
    own_weights(module)
    module.graph.eliminate_dead_code()
    module.recompile()
    _drop_unused(module)


def fold(module: Any) -> None:
    """Drop assertions, compute constants once, fold scales into convolutions."""
    _fold(module)
    module.graph.eliminate_dead_code()
    module.recompile()
    _drop_unused(module)


def _fold(module: Any) -> None:
    _drop_assertions(module)
    write_padding_out(module)
    write_normalisations_out(module)
    fold_constants(module)
    _fold_scales(module)


def _drop_assertions(module: Any) -> None:
    for node in list(module.graph.nodes):
        if node.op == "call_function" and "_assert" in str(node.target) and not node.users:
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()


def fold_constants(module: Any) -> None:
    """Compute what depends on nothing that enters."""
    import torch

    values: dict[Any, Any] = {}
    for node in list(module.graph.nodes):
        filled = _filled(node)
        if node.op == "get_attr":
            values[node] = attribute(module, node.target)
        elif filled is not None:
            values[node] = filled
        elif node.op == "call_function" and all(one in values for one in node.all_input_nodes) and is_pure(node):
            with torch.no_grad():
                arguments = torch.fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
                found = node.target(*arguments[0], **arguments[1])
            known = sum(values[one].numel() for one in node.all_input_nodes if isinstance(values[one], torch.Tensor))
            if not isinstance(found, torch.Tensor) or found.numel() <= known + _BIG:
                values[node] = found
    for node, value in values.items():
        enters = any(user not in values for user in node.users)
        if node.op == "call_function" and isinstance(value, torch.Tensor) and enters:
            node.replace_all_uses_with(constant(module, node, value.detach().clone().contiguous()))
    module.graph.eliminate_dead_code()


def _filled(node: Any) -> Any:
    """What a node gives that looks at shapes only: one number everywhere; 0 where any will do."""
    import torch

    aten = torch.ops.aten
    numbers = {aten.ones_like.default: 1, aten.new_ones.default: 1, aten.zeros_like.default: 0}
    numbers |= {aten.new_zeros.default: 0, aten.empty.memory_format: 0, aten.empty_like.default: 0}
    numbers |= {aten.empty_permuted.default: 0, aten.new_empty.default: 0}
    places = {aten.full_like.default: 1, aten.new_full.default: 2}
    value = node.meta.get("val") if node.op == "call_function" else None
    if value is None or node.target not in {*numbers, *places} or value.numel() > _BIG:
        return None
    number = node.args[places[node.target]] if node.target in places else numbers[node.target]
    return torch.full(tuple(value.shape), number, dtype=value.dtype)


def _fold_scales(module: Any) -> None:
    """`conv(x) * scale + shift` by a constant for each channel, into the weights."""
    import torch

    for node in list(module.graph.nodes):
        while node.op == "call_function" and node.target is torch.ops.aten.conv2d.default and len(node.users) == 1:
            after = next(iter(node.users))
            found = _scale_and_shift(module, after, node)
            if found is None or node.args[1].op != "get_attr":
                break
            scale, shift = found
            weight = attribute(module, node.args[1].target)
            bias = node.args[2] if len(node.args) > 2 else None
            held = torch.zeros(len(weight)) if bias is None else attribute(module, bias.target)
            new_weight = constant(module, after, weight * scale.reshape(-1, 1, 1, 1), str(node.args[1].target))
            new_bias = constant(module, after, held * scale + shift)
            with module.graph.inserting_before(after):
                folded = module.graph.call_function(node.target, (node.args[0], new_weight, new_bias, *node.args[3:]))
            folded.meta = dict(after.meta)
            after.replace_all_uses_with(folded)
            for one in (after, node):
                module.graph.erase_node(one)
            node = folded
    module.graph.eliminate_dead_code()


def _scale_and_shift(module: Any, node: Any, convolution: Any) -> tuple[Any, Any] | None:
    """What a node does to each channel of the convolution before it; None where it is something else."""
    import torch

    aten = torch.ops.aten
    channels = len(attribute(module, convolution.args[1].target)) if convolution.args[1].op == "get_attr" else -1
    if node.target not in (aten.mul.Tensor, aten.add.Tensor, aten.sub.Tensor) or node.kwargs:
        return None
    other = node.args[1] if node.args[0] is convolution else node.args[0]
    if not isinstance(other, torch.fx.Node) or other.op != "get_attr":
        return None
    value = attribute(module, other.target)
    if value.numel() != channels or tuple(value.shape) not in ((1, channels, 1, 1), (channels, 1, 1)):
        return None
    value = value.reshape(-1)
    if node.target is aten.mul.Tensor:
        return value, torch.zeros(channels)
    if node.target is aten.sub.Tensor:
        return (torch.ones(channels), -value) if node.args[0] is convolution else None
    return torch.ones(channels), value


def _drop_unused(module: Any) -> None:
    """Forget parameters and buffers that no node reads."""
    used = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for name in [name for name, _ in (*module.named_parameters(), *module.named_buffers())]:
        if name not in used:
            folder, _, leaf = name.rpartition(".")
            delattr(attribute(module, folder) if folder else module, leaf)
