"""The weights of a Hugging Face directory, through the headers of its safetensors files: names, types and shapes.

Facts: one file is `model.safetensors`; several are named by `model.safetensors.index.json`, which says in which file
each tensor stands. A header is eight bytes of length and JSON, in which offsets count from its end.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

from edgectl_converters.sources.hf.config import ModelConfig
from edgectl_converters.sources.lerobot.foreign import read_json, refuse_pointer
from edgectl_protos.domain.errors import CheckpointCorruptError, ShapeError

__all__ = ["Tensor", "Weights", "check_weights", "read_weights"]

_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_MAX_HEADER_BYTES = 100 << 20
_HINT = "copy the checkpoint again, whole: hf download OWNER/NAME --local-dir DIR"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as it is stored: safetensors' name of its type (F32, BF16, I8 …) and its shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """All tensors, and the files that hold them, the index among them."""

    tensors: dict[str, Tensor]
    files: tuple[Path, ...]

    @property
    def parameters(self) -> int:
        """How many numbers."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self.files)


def read_weights(path: Path) -> Weights:
    """The headers of all shards.

    Raises:
        CheckpointCorruptError: a shard is missing, cut short, damaged or a Git LFS pointer, or lacks a tensor that the
            index looks for in it; each is named.
    """
    if (path / _WHOLE).is_file() or not (path / _INDEX).is_file():
        file = path / _WHOLE
        if not file.is_file():
            others = sorted(found.name for found in path.glob("*.bin"))
            instead = f", but {others[0]}, whose pickles edgectl does not open" if others else ""
            raise CheckpointCorruptError(
                f"{path} has neither {_WHOLE} nor {_INDEX}{instead}",
                hint="save it as safetensors: model.save_pretrained(DIR, safe_serialization=True)" if others else _HINT,
            )
        return Weights(_read_header(file), (file,))
    index = read_json(path / _INDEX)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) and "/" not in name for name in places.values()):
        raise CheckpointCorruptError(f"{_INDEX} says no file of each tensor", hint=_HINT)
    names = sorted(set(places.values()))
    if missing := [name for name in names if not (path / name).is_file()]:
        raise CheckpointCorruptError(
            f"{path} lacks {len(missing)} of {len(names)} shards: {', '.join(missing)[:400]}", hint=_HINT
        )
    found = {name: _read_header(path / name) for name in names}
    for tensor, name in places.items():
        if tensor not in found[name]:
            raise CheckpointCorruptError(f"{name} does not hold {tensor}, which {_INDEX} looks for there", hint=_HINT)
    return Weights(
        {tensor: found[name][tensor] for tensor, name in places.items()}, (path / _INDEX, *map(path.joinpath, names))
    )


def check_weights(weights: Weights, config: ModelConfig) -> None:
    """Refuse weights that are not this model's.

    Raises:
        CheckpointCorruptError: a matrix is missing.
        ShapeError: one has another shape than config.json says.
    """
    for name, shape in config.tensors.items():
        tensor = weights.tensors.get(name)
        if tensor is None:
            raise CheckpointCorruptError(f"the weights have no {name}", hint=_HINT)
        if tensor.shape != shape:
            raise ShapeError(
                f"{name} is {list(tensor.shape)}; config.json says {list(shape)}",
                hint="config.json and the weights are of two models: copy both from one place",
            )


def _read_header(file: Path) -> dict[str, Tensor]:
    refuse_pointer(file)
    size = file.stat().st_size
    try:
        with open(file, "rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if not 2 <= length <= min(size - 8, _MAX_HEADER_BYTES):
                raise ValueError(f"a header of {length:,} bytes")
            header = json.loads(opened.read(length))
        header.pop("__metadata__", None)
        tensors = {name: Tensor(str(one["dtype"]), tuple(map(int, one["shape"]))) for name, one in header.items()}
        end = max((int(one["data_offsets"][1]) for one in header.values()), default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error, RecursionError) as exc:
        raise CheckpointCorruptError(f"{file.name} is no safetensors file: {exc}", hint=_HINT) from exc
    if 8 + length + end != size:
        raise CheckpointCorruptError(
            f"{file.name} has {size:,} bytes, and its header speaks of {8 + length + end:,}: it was cut short",
            hint=_HINT,
        )
    return tensors
