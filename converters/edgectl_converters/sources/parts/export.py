"""Writes the export of a policy in parts: graphs, arrays, tokenizers and golden cases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copyfile
from typing import Any

from edgectl_converters.sources.base import ARRAYS, GOLDEN, ONNX, Export, ExportedComponent, ExportRequest
from edgectl_converters.sources.golden_file import check_golden
from edgectl_converters.sources.parts.graphs import write_part
from edgectl_converters.sources.parts.opened import Opened
from edgectl_converters.sources.parts.program import single_call
from edgectl_converters.sources.parts.reference import golden_of

__all__ = ["export_parts"]


def export_parts(opened: Opened, request: ExportRequest, progress: Callable[[str], None]) -> Export:
    """Fill the folder of the request.

    Raises:
        OperatorError: a graph has an operator that its opset does not define.
        CheckpointCorruptError: a graph is not valid.
        CheckpointError: no oracle runs the one bare graph that brings no golden cases.
        NonFiniteError: a golden value is NaN or infinite.
    """
    import numpy as np
    import onnx

    meaning, out = opened.meaning, Path(request.out)
    policy, program = meaning.policy, meaning.program
    components = []
    notes: tuple[str, ...] = ()
    for name in program.components:
        progress(f"checking the graph {name}")
        part = opened.parts[name]
        written = write_part(part, out)
        components.append(ExportedComponent(name, {ONNX: written}, part.inputs, part.outputs, part.stored))
    if meaning.arrays:
        arrays: Any = dict(sorted(meaning.arrays.items()))
        np.savez(out / ARRAYS, **arrays)
    for name, file in meaning.files.items():
        copyfile(file, out / name)
    if opened.golden is not None:
        progress(f"checking {opened.golden.name}")
        cases: Any = check_golden(opened.golden, policy, program)
        reference, kind = opened.golden.name, "recorded"
    else:
        progress("computing golden outputs")
        call = single_call(program)
        assert call is not None  # Opened.read refused anything else
        part = opened.parts[call.component]
        cases, found = golden_of(out / components[0].files[ONNX], part, call, program, Path(request.observations))
        reference, kind, notes = found.reference, request.inputs_kind, found.notes
    np.savez(out / GOLDEN, **cases)
    return Export(
        policy=policy,
        program=program,
        components=tuple(components),
        reference=reference,
        inputs_kind=kind,
        cases=len(cases[f"out.{program.action}"]),
        versions={"onnx": str(onnx.__version__)},
        notes=notes,
    )
