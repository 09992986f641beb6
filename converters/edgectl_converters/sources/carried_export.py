"""An export that travels with its checkpoint, so that it converts where no torch is installed.

`edgectl_export/` in a LeRobot directory holds graph.onnx, golden.npz and export.json. Initialisers that equal a
tensor of model.safetensors (as float32, or its transpose) are not stored in the graph: export.json names the tensor.
The export is used only while every file it was made from is unchanged.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgectl_converters.card import Sha256, digest_of_files, sha256_of
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.errors import CheckpointCorruptError

__all__ = [
    "FOLDER",
    "carried_export_digest",
    "carried_export_problem",
    "has_carried_export",
    "restore",
    "write_carried_export",
]

FOLDER = "edgectl_export"
_FORMAT = 1
_PARTS = ("graph.onnx", "golden.npz")
_KEYS = {
    "format": int,
    "files": dict,
    "export": dict,
    "initializers": dict,
    "reference": str,
    "versions": dict,
    "toolchain": str,
    "lock": str,
    "inputs_kind": str,
}
# Smaller ones are not worth a reference.
_MIN_REFERENCED_BYTES = 256


def has_carried_export(checkpoint: Path) -> bool:
    """Whether the checkpoint brings an export along."""
    return (checkpoint / FOLDER / "export.json").exists()


def carried_export_digest(checkpoint: Path) -> Digest:
    """The digest over the carried export's own files."""
    folder = checkpoint / FOLDER
    return digest_of_files(folder, [folder / name for name in ("export.json", *_PARTS)])


def carried_export_problem(checkpoint: Path, files: Iterable[Path], sha256: Sha256 = sha256_of) -> str:
    """Why the export cannot be used; empty when it can."""
    try:
        document = json.loads((checkpoint / FOLDER / "export.json").read_bytes())
    except (OSError, ValueError) as exc:
        return f"export.json cannot be read ({exc})"
    if not isinstance(document, dict) or not all(isinstance(document.get(key), kind) for key, kind in _KEYS.items()):
        return f"export.json lacks one of {', '.join(_KEYS)}"
    if document["format"] != _FORMAT:
        return f"its format {document['format']} is not {_FORMAT}"
    recorded = document["files"]
    for file in files:
        if recorded.get(file.name) != str(sha256(file)):
            return f"{file.name} has changed since it was exported"
    for name in _PARTS:
        file = checkpoint / FOLDER / name
        if not file.exists() or str(sha256_of(file)) != document["export"].get(name):
            return f"{name} is missing or altered"
    return ""


def write_carried_export(export: Path, checkpoint: Path, weights: Path, files: Iterable[Path]) -> Path:
    """Store `export` (full.onnx, golden.npz, export.json of the export step) into the checkpoint; the folder."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(export / "full.onnx"))
    by_digest = {key: name for name, key in _weight_digests(weights).items()}
    references: dict[str, dict[str, Any]] = {}
    for initializer in model.graph.initializer:
        array = numpy_helper.to_array(initializer)
        if array.nbytes < _MIN_REFERENCED_BYTES or str(array.dtype) != "float32":
            continue
        found = by_digest.get(_key(array))
        transposed = found is None and array.ndim == 2
        if transposed:
            found = by_digest.get(_key(array.T))
        if found is not None:
            references[initializer.name] = {"tensor": found, "transposed": transposed}
            initializer.ClearField("raw_data")
            initializer.ClearField("float_data")
    aside = checkpoint / f".{FOLDER}.new"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    (aside / "graph.onnx").write_bytes(model.SerializeToString())
    shutil.copyfile(export / "golden.npz", aside / "golden.npz")
    document = json.loads((export / "export.json").read_bytes())
    document |= {
        "format": _FORMAT,
        "files": {file.name: str(sha256_of(file)) for file in files},
        "export": {name: str(sha256_of(aside / name)) for name in _PARTS},
        "initializers": references,
    }
    (aside / "export.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    folder = checkpoint / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return folder


def restore(checkpoint: Path, weights: Path, out: Path) -> None:
    """Write full.onnx, golden.npz and export.json as the export step would have.

    Raises:
        CheckpointCorruptError: the graph refers to a tensor that the weights do not hold.
    """
    import numpy as np
    import onnx
    from safetensors.numpy import load_file

    folder = checkpoint / FOLDER
    document = json.loads((folder / "export.json").read_bytes())
    references: Mapping[str, Mapping[str, Any]] = document["initializers"]
    tensors = load_file(weights)
    model = onnx.load(str(folder / "graph.onnx"), load_external_data=False)
    for initializer in model.graph.initializer:
        reference = references.get(initializer.name)
        if reference is None:
            continue
        array = tensors.get(reference["tensor"])
        if array is None:
            raise CheckpointCorruptError(f"{weights.name} has no tensor {reference['tensor']!r}")
        value = array.astype(np.float32)
        if reference["transposed"]:
            value = np.ascontiguousarray(value.T)
        if tuple(initializer.dims) != value.shape:
            raise CheckpointCorruptError(f"{reference['tensor']} is {list(value.shape)}, not {initializer.dims}")
        initializer.raw_data = value.tobytes()
    onnx.save(model, str(out / "full.onnx"))
    shutil.copyfile(folder / "golden.npz", out / "golden.npz")
    kept = {key: document[key] for key in ("reference", "versions", "toolchain", "lock", "inputs_kind")}
    (out / "export.json").write_text(json.dumps(kept))


def _weight_digests(weights: Path) -> dict[str, str]:
    import numpy as np
    from safetensors.numpy import load_file

    return {name: _key(array.astype(np.float32)) for name, array in sorted(load_file(weights).items())}


def _key(array: Any) -> str:
    import numpy as np

    data = np.ascontiguousarray(array)
    return hashlib.sha256(repr(data.shape).encode() + data.tobytes()).hexdigest()
