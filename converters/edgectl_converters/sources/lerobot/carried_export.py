"""An export that travels with its checkpoint, so that it converts where no torch is installed.

`edgectl_export/` in a LeRobot directory holds export.json, `<component>.onnx` for each component, arrays.npz,
golden.npz and a tokenizer.json where there is one. Initialisers that equal a tensor of model.safetensors (as float32,
or its transpose) are not stored in the graph: export.json names the tensor. The export is used only while every file
it was made from is unchanged; what is wrong with it is said, never raised.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgectl_converters.card import ONNX, Sha256, sha256_of
from edgectl_converters.sources.base import ARRAYS, GOLDEN, Export
from edgectl_converters.sources.lerobot.foreign import read_tensors
from edgectl_protos.codec.document import MAX_BYTES, from_bytes, to_document
from edgectl_protos.domain.artifact import safe_path
from edgectl_protos.domain.errors import BundleError, CheckpointCorruptError, EdgectlError
from edgectl_protos.domain.policy import Policy
from edgectl_protos.domain.program_checks import check_components, check_program

__all__ = [
    "FOLDER",
    "carried_export_files",
    "carried_export_problem",
    "has_carried_export",
    "restore",
    "write_carried_export",
]

FOLDER = "edgectl_export"
DOCUMENT = "export.json"
_FORMAT = 3
_MAX_INSIDE_BYTES = (2 << 30) - (1 << 20)
# Smaller ones are not worth a reference.
_MIN_REFERENCED_BYTES = 256


@dataclass(frozen=True, slots=True)
class _Reference:
    """A tensor of the weights that an initialiser is."""

    tensor: str
    transposed: bool


@dataclass(frozen=True, slots=True)
class _Carried:
    """export.json. `files` are the digests of what was exported, by path in the checkpoint, `stored` those of what is
    stored, by path in the folder; `initializers` are the references of each component.
    """

    format: int
    export: Export
    files: dict[str, str]
    stored: dict[str, str]
    initializers: dict[str, dict[str, _Reference]]


def has_carried_export(checkpoint: Path) -> bool:
    """Whether the checkpoint brings an export along."""
    return (checkpoint / FOLDER / DOCUMENT).exists()


def carried_export_files(checkpoint: Path) -> list[Path]:
    """The files of a carried export without a problem."""
    folder = checkpoint / FOLDER
    return [folder / DOCUMENT, *(folder / name for name in _read(checkpoint).stored)]


def carried_export_problem(checkpoint: Path, policy: Policy, files: Iterable[Path], sha256: Sha256 = sha256_of) -> str:
    """Why the export cannot be used; empty when it can.

    `policy` is what the checkpoint itself says, `files` are those that decide what the policy computes.
    """
    try:
        carried = _read(checkpoint)
        if carried.export.policy != policy:
            return "it describes another policy than the checkpoint does"
        for file in files:
            name = file.relative_to(checkpoint).as_posix()
            if carried.files.get(name) != str(sha256(file)):
                return f"{name} has changed since it was exported"
        for name in _names_of(carried.export):
            if name not in carried.stored:
                return f"{DOCUMENT} has no digest of {name}"
        for name, digest in carried.stored.items():
            file = checkpoint / FOLDER / safe_path(name)
            if not file.is_file() or str(sha256_of(file)) != digest:
                return f"{name} is missing or altered"
    except EdgectlError as exc:
        return exc.message
    except (OSError, ValueError) as exc:
        return f"{FOLDER} cannot be read ({exc})"
    return ""


def write_carried_export(
    export: Export, exported: Path, checkpoint: Path, weights: Path, files: Iterable[Path]
) -> Path:
    """Store an export, whose files lie in `exported`, in the checkpoint; the folder.

    Raises:
        CheckpointCorruptError: the weights cannot be read.
    """
    by_digest = {_key(array): name for name, array in sorted(_float32(read_tensors(weights)).items())}
    aside = checkpoint / f".{FOLDER}.new"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    references = {}
    for component in export.components:
        references[component.name] = _strip(exported / component.files[ONNX], aside / component.files[ONNX], by_digest)
    others = [name for name in _names_of(export) if not (aside / name).exists()]
    for name in others:
        shutil.copyfile(exported / name, aside / name)
    carried = _Carried(
        format=_FORMAT,
        export=export,
        files={file.relative_to(checkpoint).as_posix(): str(sha256_of(file)) for file in files},
        stored={name: str(sha256_of(aside / name)) for name in _names_of(export)},
        initializers=references,
    )
    (aside / DOCUMENT).write_text(json.dumps(to_document(carried), indent=1, sort_keys=True) + "\n")
    folder = checkpoint / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return folder


def restore(checkpoint: Path, weights: Path, out: Path) -> Export:
    """Write the files of the carried export into `out` as the export step would have, and return its report.

    Raises:
        CheckpointCorruptError: the export is damaged, or its graphs refer to a tensor that the weights do not hold.
    """
    folder = checkpoint / FOLDER
    try:
        carried = _read(checkpoint)
        tensors = read_tensors(weights)
        for component in carried.export.components:
            references = carried.initializers.get(component.name, {})
            _fill(folder / component.files[ONNX], out / component.files[ONNX], references, tensors)
        for name in _names_of(carried.export):
            if not (out / name).exists():
                shutil.copyfile(folder / name, out / name)
    except CheckpointCorruptError:
        raise
    except (EdgectlError, OSError) as exc:
        raise CheckpointCorruptError(f"the carried export is damaged: {exc}", hint="export it again") from exc
    return carried.export


def _read(checkpoint: Path) -> _Carried:
    file = checkpoint / FOLDER / DOCUMENT
    if file.stat().st_size > MAX_BYTES:
        raise BundleError(f"{DOCUMENT} is too large")
    carried = from_bytes(_Carried, file.read_bytes(), what=DOCUMENT)
    if carried.format != _FORMAT:
        raise BundleError(f"its format {carried.format} is not {_FORMAT}")
    for name in (*_names_of(carried.export), *carried.stored):
        if len(safe_path(name).parts) != 1:
            raise BundleError(f"{DOCUMENT} names {name!r}, which is not in the folder")
    export = carried.export
    check_program(export.policy, export.program)
    ports = {component.name: (component.inputs, component.outputs) for component in export.components}
    check_components(export.program, export.policy, ports)
    return carried


def _names_of(export: Export) -> list[str]:
    """The files of an export's folder."""
    names = [component.files[ONNX] for component in export.components]
    return list(dict.fromkeys([*names, *export.program.files, ARRAYS, GOLDEN]))


def _strip(graph: Path, into: Path, by_digest: Mapping[str, str]) -> dict[str, _Reference]:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(graph))
    references: dict[str, _Reference] = {}
    for initializer in model.graph.initializer:
        array = numpy_helper.to_array(initializer)
        if array.nbytes < _MIN_REFERENCED_BYTES or str(array.dtype) != "float32":
            continue
        found = by_digest.get(_key(array))
        transposed = found is None and array.ndim == 2
        if transposed:
            found = by_digest.get(_key(array.T))
        if found is not None:
            references[initializer.name] = _Reference(found, transposed)
            initializer.ClearField("raw_data")
            initializer.ClearField("float_data")
    into.write_bytes(model.SerializeToString())
    return references


def _fill(graph: Path, into: Path, references: Mapping[str, _Reference], tensors: Mapping[str, Any]) -> None:
    import numpy as np
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(graph), load_external_data=False)
    except (DecodeError, OSError, ValueError) as exc:
        raise CheckpointCorruptError(f"{graph.name} of the carried export cannot be read: {exc}") from exc
    for initializer in model.graph.initializer:
        reference = references.get(initializer.name)
        if reference is None:
            continue
        array = tensors.get(reference.tensor)
        if array is None:
            raise CheckpointCorruptError(f"the weights have no tensor {reference.tensor!r}")
        value = array.astype(np.float32)
        if reference.transposed:
            value = np.ascontiguousarray(value.T)
        if tuple(initializer.dims) != value.shape:
            raise CheckpointCorruptError(f"{reference.tensor} is {list(value.shape)}, not {list(initializer.dims)}")
        initializer.raw_data = value.tobytes()
    size = sum(len(initializer.raw_data) for initializer in model.graph.initializer)
    # protobuf holds no more than 2 GiB; the exporter puts weights beside the graph then, under this name.
    apart = {"save_as_external_data": True, "location": f"{into.name}.data"} if size >= _MAX_INSIDE_BYTES else {}
    onnx.save(model, str(into), **apart)


def _float32(tensors: Mapping[str, Any]) -> dict[str, Any]:
    import numpy as np

    return {name: array.astype(np.float32) for name, array in tensors.items()}


def _key(array: Any) -> str:
    import numpy as np

    data = np.ascontiguousarray(array)
    return hashlib.sha256(repr(data.shape).encode() + data.tobytes()).hexdigest()
