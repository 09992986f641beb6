"""What a saved torch module says about itself without torch: both formats are zip archives. Nothing is unpickled.

An exported program (`.pt2`) has its graph as JSON: names, types and shapes of what goes in and comes out, operators,
and whether it carries example inputs. A TorchScript module has code and tensors; what goes in is not declared.
"""

from __future__ import annotations

import enum
import json
import math
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointError, OperatorError

__all__ = ["Kind", "TorchArchive", "read_archive"]

_MAX_JSON_BYTES = 512 << 20
_MAX_MEMBERS = 200_000
_MAX_ELEMENTS = 1 << 30
_READ_ERRORS = (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)
_DTYPES = {
    1: DType.UINT8,
    2: DType.INT8,
    3: DType.INT16,
    4: DType.INT32,
    5: DType.INT64,
    6: DType.FLOAT16,
    7: DType.FLOAT32,
    8: DType.FLOAT64,
    12: DType.BOOL,
    28: DType.UINT16,
}
"""torch's serialised scalar types; bfloat16 (13) and complex ones are not fed."""
_OWN_OPERATORS = ("aten", "prim", "prims", "higher_order", "quantized_decomposed")
_OPERATOR = re.compile(r"torch\.ops\.(\w+)\.([\w.]+)")
_SYMBOL = re.compile(r"(?:Symbol\(')?(\w+)")
_SAVE_HINT = (
    "in the environment it was trained in: torch.export.save(torch.export.export(model.eval(), example_inputs), "
    "'policy.pt2')"
)


class Kind(enum.Enum):
    """The two formats."""

    EXPORTED = "torch.export program"
    SCRIPT = "TorchScript module"


@dataclass(frozen=True, slots=True)
class TorchArchive:
    """A saved module. `inputs` and `outputs` are empty for TorchScript; free dimensions have their sizes already:
    1 for a first one, else what the example had. `batch` is how many rows the example had in inputs (and outputs) whose
    first dimension is free; `sizes` those of the other free dimensions by name.
    """

    kind: Kind
    parameters: int
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    batch: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    has_examples: bool = False


def read_archive(path: Path) -> TorchArchive:
    """What the file says.

    Raises:
        CheckpointError: it is a pickle of weights, compiled for one machine, or its inputs are not tensors.
        CheckpointCorruptError: it is damaged.
        OperatorError: it has an operator that is not torch's own.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic[:2] != b"PK":
            raise _no_module(path, "is no zip archive, as modules are" if magic[:1] != b"\x80" else "is a pickle")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MAX_MEMBERS:
                raise CheckpointCorruptError(f"{path.name} has {len(members)} members")
            # The first folder is the archive's own name.
            names = {member.filename.partition("/")[2]: member for member in members}
            graphs = [name for name in names if re.fullmatch(r"models/[^/]+\.json", name)]
            if len(graphs) > 1:
                raise CheckpointError(f"{path.name} holds {len(graphs)} programs", hint="save one program a file")
            if graphs:
                member = names[graphs[0]]
                if member.file_size > _MAX_JSON_BYTES:
                    raise CheckpointError(f"{path.name}: the graph has {member.file_size} bytes of JSON")
                examples = any(name.startswith("data/sample_inputs/") for name in names)
                return _exported(path, json.loads(archive.read(member)), examples)
    except (*_READ_ERRORS, RecursionError) as exc:
        raise CheckpointCorruptError(
            f"{path.name} cannot be read: {' '.join(str(exc).split())[:200]}", hint="copy the file again"
        ) from exc
    if any("aotinductor" in name for name in names):
        raise CheckpointError(f"{path.name} was compiled by AOTInductor, for one kind of machine", hint=_SAVE_HINT)
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        size = sum(member.file_size for name, member in names.items() if re.fullmatch(r"(data|constants)/\d+", name))
        return TorchArchive(Kind.SCRIPT, parameters=size // 4)
    raise _no_module(path, "is a pickle" if "data.pkl" in names else "holds neither a program nor a module")


def _no_module(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path.name} {what}; edgectl unpickles nothing, and weights alone say no computation", hint=_SAVE_HINT
    )


def _exported(path: Path, document: Any, examples: bool) -> TorchArchive:
    try:
        module = document["graph_module"]
        graph, signature = module["graph"], module["signature"]
        values: Mapping[str, Any] = graph["tensor_values"]
        for node in graph["nodes"]:
            found = _OPERATOR.match(node["target"])
            if found and found[1] not in _OWN_OPERATORS:
                raise OperatorError(
                    f"{path.name} has the operator {found[1]}::{found[2]}, which is not torch's own",
                    hint="write it with torch's operators, and export again",
                )
        inputs = [_named(path, spec, "user_input") for spec in signature["input_specs"] if "user_input" in spec]
        outputs = []
        for spec in signature["output_specs"]:
            if "user_output" not in spec:
                raise CheckpointError(
                    f"{path.name}: the module changes what it holds ({next(iter(spec))}); here it is run as it is",
                    hint="make the state an input and an output of the module",
                )
            outputs.append(_named(path, spec, "user_output"))
        parameters = 0
        for spec in signature["input_specs"]:
            if "parameter" in spec or "buffer" in spec:
                held = values[spec.get("parameter", spec.get("buffer"))["arg"]["name"]]
                parameters += math.prod(size["as_int"] for size in held["sizes"])
        sizes: dict[str, int] = {}
        batch: dict[str, int] = {}
        specs = [_spec(path, name, values[name], sizes, batch) for name in (*inputs, *outputs)]
    except (KeyError, TypeError, AttributeError, ValueError, StopIteration, IndexError) as exc:
        raise CheckpointCorruptError(
            f"{path.name} is not an exported program as torch 2.13 writes them: {type(exc).__name__} {exc}",
            hint="save it again, with torch 2.13",
        ) from exc
    if not inputs or not outputs:
        raise CheckpointError(f"{path.name} has no inputs or no outputs")
    count = len(inputs)
    return TorchArchive(Kind.EXPORTED, parameters, tuple(specs[:count]), tuple(specs[count:]), batch, sizes, examples)


def _named(path: Path, spec: Mapping[str, Any], key: str) -> str:
    arg = spec[key]["arg"]
    if "as_tensor" not in arg:
        raise CheckpointError(
            f"{path.name}: {key} is {next(iter(arg))}, not a tensor", hint="export it with tensors only"
        )
    return str(arg["as_tensor"]["name"])


def _spec(path: Path, name: str, value: Any, sizes: dict[str, int], batch: dict[str, int]) -> TensorSpec:
    if value["dtype"] not in _DTYPES:
        raise CheckpointError(f"{path.name}: {name!r} has torch's type {value['dtype']}, which edgectl does not feed")
    shape = []
    for axis, size in enumerate(value["sizes"]):
        if "as_int" in size:
            shape.append(int(size["as_int"]))
            continue
        hint = ((size["as_expr"] or {}).get("hint") or {}).get("as_int")
        if not hint:
            raise CheckpointError(f"{path.name}: dimension {axis} of {name!r} is free, and the file says no size of it")
        if axis == 0:
            batch[name] = int(hint)
        elif symbol := _SYMBOL.match(size["as_expr"]["expr_str"]):
            sizes[symbol[1]] = int(hint)
        shape.append(1 if axis == 0 else int(hint))
    if min(shape, default=1) < 1 or math.prod(shape) > _MAX_ELEMENTS:
        raise CheckpointError(f"{path.name}: {name!r} has the shape {shape}, which cannot be fed")
    return TensorSpec(name, _DTYPES[value["dtype"]], tuple(shape))
