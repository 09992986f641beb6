"""Joins tokens that a policy cut apart only to stack them again. Runs inside the lerobot toolchain, on torch's graph.

LeRobot's ACT turns a camera's feature map into a Python list of tokens and stacks the lists: exported as it stands,
that is hundreds of slices at every inference, and minutes of graph optimisation at export.
`stack([..., *unbind(x), ...])` is `cat([..., x, ...])`.
"""

from __future__ import annotations

import operator
from typing import Any

__all__ = ["join_tokens"]


def join_tokens(program: Any) -> int:
    """Rewrite the stacks of a torch.export program in place; returns how many there were."""
    import torch

    aten = torch.ops.aten
    graph = program.graph
    joined = 0
    for stack in list(graph.nodes):
        if stack.op != "call_function" or stack.target is not aten.stack.default or _axis(stack) != 0:
            continue
        runs = _runs(list(stack.args[0]))
        if not any(whole for whole, _ in runs):
            continue
        with graph.inserting_before(stack):
            parts = []
            for whole, node in runs:
                if not whole:
                    value = node.meta["val"]
                    node = graph.call_function(aten.unsqueeze.default, (node, 0))
                    node.meta["val"] = value.unsqueeze(0)
                parts.append(node)
            cat = graph.call_function(aten.cat.default, (parts, 0))
        cat.meta = dict(stack.meta)
        stack.replace_all_uses_with(cat)
        joined += 1
    graph.eliminate_dead_code()
    program.graph_module.recompile()
    return joined


def _runs(items: list[Any]) -> list[tuple[bool, Any]]:
    """(True, x) for a run of all tokens of x in order, (False, node) for a single item."""
    runs: list[tuple[bool, Any]] = []
    index = 0
    while index < len(items):
        source = _token_source(items[index])
        tokens = source.args[0] if source is not None else None
        count = tokens.meta["val"].shape[0] if tokens is not None else 0
        run = items[index : index + count]
        if count and len(run) == count and all(_is_token(t, source, i) for i, t in enumerate(run)):
            runs.append((True, tokens))
            index += count
        else:
            runs.append((False, items[index]))
            index += 1
    return runs


def _token_source(node: Any) -> Any | None:
    """The unbind along the first axis whose item this node is."""
    import torch

    if node.op != "call_function" or node.target is not operator.getitem:
        return None
    source = node.args[0]
    unbinds = source.op == "call_function" and source.target is torch.ops.aten.unbind.int
    return source if unbinds and _axis(source) == 0 else None


def _is_token(node: Any, source: Any, index: int) -> bool:
    return _token_source(node) is source and node.args[1] == index


def _axis(node: Any) -> int:
    return int(node.args[1]) if len(node.args) > 1 else 0
