"""In the toolchain: loads the module with torch, computes golden outputs where there are none, and writes ONNX.

torch's loaders are told to unpickle tensors only. A graph with free dimensions is exported as it is, and its ports are
fixed afterwards; golden outputs are then computed with as many equal rows as the example had, and the first is taken.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgectl_converters.sources.base import GOLDEN, ONNX, PT2, Export, ExportedComponent, ExportRequest
from edgectl_converters.sources.golden_file import check_golden
from edgectl_converters.sources.npz import read_npz
from edgectl_converters.sources.parts.graphs import read_part, write_part
from edgectl_converters.sources.pt2.archive import Kind
from edgectl_converters.sources.pt2.source import COMPONENT, TorchModule
from edgectl_converters.sources.torch_program import write_program
from edgectl_protos.domain.errors import CheckpointError, NonFiniteError, OperatorError

if TYPE_CHECKING:
    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[Any]]

__all__ = ["export_module"]

Run = Callable[[Mapping[str, Any]], list[Any]]
"""Inputs by name to outputs in order, tensors all."""

_EXAMPLE = "example"
_OPSET = 17
"""Of TorchScript's exporter; the other one chooses its own."""
_OPERATORS = (
    re.compile(r"OpOverload\(op='([\w.:]+)'"),
    re.compile(r"operator '?([\w]+::[\w.]+)'?"),
    re.compile(r"Unknown builtin op: ([\w:]+)"),
    re.compile(r"torch\.ops\.([\w.]+)"),
)


def export_module(module: TorchModule, request: ExportRequest, progress: Callable[[str], None]) -> Export:
    """Write `policy.onnx`, `policy.pt2` where it is asked for, and `golden.npz` into the request's folder.

    Raises:
        CheckpointError: torch cannot load the module, or it takes other inputs than its golden cases say.
        OperatorError: it has an operator that torch or ONNX does not know.
        NonFiniteError: an output holds NaN or infinity.
    """
    import numpy as np
    import onnx
    import torch

    # Tensors only: an archive may hold any pickle.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    torch.manual_seed(request.seed)
    out = Path(request.out)
    progress(f"loading {module.path.name} with torch {torch.__version__}")
    loaded = _load(module)
    called = loaded.module() if module.archive.kind is Kind.EXPORTED else loaded
    run = _runner(module, loaded, called)
    cases, kind = _inputs(module, loaded, request)
    progress("exporting to ONNX")
    raw = out / "raw"
    raw.mkdir()
    try:
        _write_onnx(module, loaded, cases, raw / "policy.onnx")
        part = read_part(COMPONENT, raw / "policy.onnx", module.archive.sizes)
        file = write_part(part, out)
    finally:
        shutil.rmtree(raw)
    files = {ONNX: file}
    if PT2 in request.forms:
        files[PT2] = "policy.pt2"
        write_program(_flat(module, called, run, cases), out / files[PT2])
    if module.golden is not None:
        golden: Any = check_golden(module.golden, module.policy, module.program)
        reference = module.golden.name
    else:
        progress("computing golden outputs with torch")
        golden = cases | _golden_outputs(module, run, cases)
        reference = f"torch {torch.__version__}"
        if kind == _EXAMPLE:
            # Whether it is real nobody knows; most are random.
            reference, kind = f"{reference} on the module's example inputs", "synthetic"
    np.savez(out / GOLDEN, **golden)
    return Export(
        policy=module.policy,
        program=module.program,
        components=(ExportedComponent(COMPONENT, files, part.inputs, part.outputs),),
        reference=reference,
        inputs_kind=kind,
        cases=len(golden[f"out.{module.program.action}"]),
        versions={"torch": str(torch.__version__), "onnx": str(onnx.__version__)},
    )


def _load(module: TorchModule) -> Any:
    import torch

    try:
        if module.archive.kind is Kind.EXPORTED:
            return torch.export.load(str(module.path))
        return torch.jit.load(str(module.path), map_location="cpu").eval()
    except Exception as exc:  # torch raises anything; this is the boundary to its loader
        raise _refused(exc, f"torch cannot load {module.path.name}") from exc


def _runner(module: TorchModule, loaded: Any, called: Any) -> Run:
    from torch.utils import _pytree as pytree

    if module.archive.kind is Kind.SCRIPT:
        wanted = [argument.name for argument in loaded.forward.schema.arguments[1:]]
        needed = [argument.name for argument in loaded.forward.schema.arguments[1:] if not argument.has_default_value()]
        given = [spec.name for spec in module.inputs]
        if set(given) - set(wanted) or set(needed) - set(given):
            raise CheckpointError(
                f"{module.path.name} takes {', '.join(wanted)}; its golden cases have {', '.join(given)}",
                hint="name them in.<input> as the arguments of forward are called",
            )
        return lambda feeds: list(pytree.tree_leaves(loaded(**feeds)))
    # Constants that the module was exported with stand between the tensors.
    slots = [
        spec.arg for spec in loaded.graph_signature.input_specs if spec.kind.name in ("USER_INPUT", "CONSTANT_INPUT")
    ]

    def run(feeds: Mapping[str, Any]) -> list[Any]:
        flat = [feeds.get(slot.name, getattr(slot, "value", None)) for slot in slots]
        args, kwargs = pytree.tree_unflatten(flat, loaded.call_spec.in_spec)
        return list(pytree.tree_leaves(called(*args, **kwargs)))

    return run


def _inputs(module: TorchModule, loaded: Any, request: ExportRequest) -> tuple[Arrays, str]:
    """`in.` arrays, and what they are."""
    if module.golden is not None:
        arrays = check_golden(module.golden, module.policy, module.program)
        return {key: array for key, array in arrays.items() if key.startswith("in.")}, "recorded"
    if request.observations and "recorded" in request.inputs_kind:
        recorded = read_npz(Path(request.observations))
        return {f"in.{name}": array for name, array in recorded.items()}, request.inputs_kind
    if module.archive.has_examples and loaded.example_inputs is not None:
        return _examples(module, loaded), _EXAMPLE
    if request.observations:
        return {
            f"in.{name}": array for name, array in read_npz(Path(request.observations)).items()
        }, request.inputs_kind
    raise CheckpointError(f"{module.path.name} carries no example inputs", hint="record some: --footage DIR")


def _examples(module: TorchModule, loaded: Any) -> Arrays:
    import torch
    from torch.utils import _pytree as pytree

    tensors = [leaf for leaf in pytree.tree_leaves(loaded.example_inputs) if isinstance(leaf, torch.Tensor)]
    if len(tensors) != len(module.inputs):
        raise CheckpointError(
            f"{module.path.name} carries {len(tensors)} example inputs; it takes {len(module.inputs)}"
        )
    # Each row is a case where the module takes any number of them.
    rows = min(len(tensor) for tensor in tensors) if len(module.archive.batch) >= len(module.inputs) else 1
    found: Arrays = {}
    for spec, feature, tensor in zip(module.inputs, module.policy.observations, tensors, strict=True):
        values = tensor.detach().cpu().numpy()
        if spec.name in module.archive.batch:
            values = values[:rows]
        found[f"in.{spec.name}"] = values.reshape(rows, *feature.shape)
    return found


def _tensors(module: TorchModule, cases: Arrays, case: int, *, rows: bool) -> dict[str, Any]:
    """One case as the module takes it; `rows`: as many equal ones as the example had."""
    import numpy as np
    import torch

    feeds = {}
    for spec in module.inputs:
        values = cases[f"in.{spec.name}"][case].reshape(spec.shape)
        if rows and spec.name in module.archive.batch:
            values = np.repeat(values, module.archive.batch[spec.name], axis=0)
        feeds[spec.name] = torch.from_numpy(np.ascontiguousarray(values, spec.dtype.value))
    return feeds


def _golden_outputs(module: TorchModule, run: Run, cases: Arrays) -> Arrays:
    import numpy as np
    import torch

    found: dict[str, list[Any]] = {spec.name: [] for spec in module.outputs}
    for case in range(len(next(iter(cases.values())))):
        try:
            with torch.no_grad():
                outputs = run(_tensors(module, cases, case, rows=True))
        except Exception as exc:  # the module's own code
            raise _refused(exc, f"{module.path.name} cannot be run") from exc
        for spec, archived, output in zip(module.outputs, module.archive.outputs, outputs, strict=True):
            values = output.detach().cpu().numpy()
            values = values[:1] if archived.name in module.archive.batch else values
            if not np.isfinite(values).all():
                raise NonFiniteError(
                    f"{module.path.name} gives {int((~np.isfinite(values)).sum())} values of {spec.name!r} that "
                    "are not finite, by torch already",
                    hint="give it inputs from its own world: --footage DIR",
                )
            found[spec.name].append(values)
    shapes = {spec.name: spec.shape for spec in module.program.tensors}
    return {f"out.{name}": np.stack(values).reshape(len(values), *shapes[name]) for name, values in found.items()}


def _write_onnx(module: TorchModule, loaded: Any, cases: Arrays, file: Path) -> None:
    import torch

    names = {
        "input_names": [spec.name for spec in module.inputs],
        "output_names": [spec.name for spec in module.outputs],
    }
    try:
        if module.archive.kind is Kind.EXPORTED:
            program = torch.onnx.export(loaded, dynamo=True, verbose=False, **names)
            assert program is not None
            program.save(str(file))
            return
        feeds = _tensors(module, cases, 0, rows=False)
        order = [argument.name for argument in loaded.forward.schema.arguments[1:] if argument.name in feeds]
        names["input_names"] = order
        arguments = tuple(feeds[name] for name in order)
        torch.onnx.export(loaded, arguments, str(file), dynamo=False, opset_version=_OPSET, **names)
    except Exception as exc:  # torch raises anything; this is the boundary to its exporter
        raise _refused(exc, f"{module.path.name} cannot be exported to ONNX") from exc


def _flat(module: TorchModule, called: Any, run: Run, cases: Arrays) -> Any:
    """The program again, with its inputs in a row, of the shapes of the first case."""
    import torch

    names = [spec.name for spec in module.inputs]

    class Flat(torch.nn.Module):  # type: ignore[misc]
        """Ports in their order; the weights stay those of the module that `run` calls."""

        def __init__(self) -> None:
            super().__init__()
            self.called = called

        def forward(self, *values: Any) -> Any:
            return tuple(run(dict(zip(names, values, strict=True))))

    feeds = _tensors(module, cases, 0, rows=False)
    try:
        return torch.export.export(Flat(), tuple(feeds[name] for name in names), strict=False)
    except Exception as exc:  # torch raises anything; this is the boundary to its exporter
        raise _refused(exc, f"{module.path.name} cannot be exported again") from exc


def _refused(error: BaseException, what: str) -> CheckpointError | OperatorError:
    """The member of our tree that torch's failure stands for: the operator is in the text, or in that of a cause."""
    texts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(texts) < 5:
        texts.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    text = "\n".join(texts)
    for pattern in _OPERATORS:
        if found := pattern.search(text):
            return OperatorError(f"{what}: the operator {found[1]} is not known to it", hint="write it with others")
    line = " ".join(texts[0].split())
    return CheckpointError(f"{what}: {type(error).__name__}: {line[:400]}")
