"""A torch.export program as targets read it: flat, of fixed shapes, without what it does not use. Runs in toolchains.

Facts: torch.export keeps every weight of the module that it was given, though a part uses a few; the checks of metadata
that it writes keep dead nodes alive; nodes carry stack traces with paths of the machine. `run_decompositions({})`
takes out what changes a tensor in place, and decomposes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["write_program"]

_METADATA_CHECK = "_assert_tensor_metadata"


def write_program(program: Any, file: Path) -> None:
    """Write an ExportedProgram, which stays as it is."""
    import torch

    functional = program.run_decompositions({})
    # Both are shared with the program, whose other forms still need what this one drops.
    functional._state_dict, functional._constants = dict(functional.state_dict), dict(functional.constants)
    graph = functional.graph_module.graph
    for node in list(graph.nodes):
        if _METADATA_CHECK in str(node.target):
            graph.erase_node(node)
        node.meta.pop("stack_trace", None)
    graph.eliminate_dead_code()
    _drop_unused(functional)
    functional.graph_module.recompile()
    torch.export.save(functional, str(file))


def _drop_unused(program: Any) -> None:
    """Take out the weights, buffers and constants that no node reads."""
    signature = program.graph_signature
    graph = program.graph_module.graph
    inputs = {node.name: node for node in graph.nodes if node.op == "placeholder"}
    written = {spec.target for spec in signature.output_specs if spec.target is not None}
    kept = []
    for spec in signature.input_specs:
        name = getattr(spec.arg, "name", "")
        held = spec.kind.name in ("PARAMETER", "BUFFER", "CONSTANT_TENSOR") and spec.target not in written
        if not held or name not in inputs or inputs[name].users:
            kept.append(spec)
            continue
        graph.erase_node(inputs[name])
        program.state_dict.pop(spec.target, None)
        program.constants.pop(spec.target, None)
    signature.input_specs[:] = kept
