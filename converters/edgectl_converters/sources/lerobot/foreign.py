"""Files of a checkpoint that others wrote, read in full or refused: JSON, and safetensors through its header."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgectl_protos.domain.errors import CheckpointCorruptError

__all__ = ["read_json", "read_safetensors_header", "read_tensors", "refuse_pointer"]

MAX_JSON_BYTES = 64 << 20
"""The largest that is read: a tokenizer of a large vocabulary has 35 MB, a config some kB."""
_POINTER = b"version https://git-lfs.github.com/spec/"


def refuse_pointer(file: Path) -> None:
    """Refuse what Git LFS leaves in place of a file that it has not fetched.

    Raises:
        CheckpointCorruptError: it is a pointer.
    """
    try:
        with open(file, "rb") as opened:
            start = opened.read(len(_POINTER))
    except OSError:
        return
    if start == _POINTER:
        raise CheckpointCorruptError(
            f"{file.name} is a Git LFS pointer, not the file itself; edgectl downloads nothing",
            hint=f"fetch it: git -C {file.parent} lfs pull, or from the Hub: hf download OWNER/NAME --local-dir DIR",
        )


def read_json(file: Path) -> Any:
    """The document in a file.

    Raises:
        FileNotFoundError: there is none.
        CheckpointCorruptError: it cannot be read, or is not JSON.
    """
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise CheckpointCorruptError(f"{file.name} has {file.stat().st_size:,} bytes: it is no config")
        refuse_pointer(file)
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as exc:
        raise CheckpointCorruptError(
            f"{file.name} is not JSON: {str(exc) or 'nested too deep'}", hint="copy the checkpoint again"
        ) from exc


def read_safetensors_header(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a safetensors file by tensor name, the file checked for length.

    Raises:
        CheckpointCorruptError: it is truncated, or its header or offsets are damaged.
    """
    from safetensors import SafetensorError, safe_open

    refuse_pointer(file)
    try:
        with safe_open(str(file), framework="numpy") as tensors:
            names = list(tensors.keys())
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as exc:
        raise CheckpointCorruptError(
            f"{file.name} is truncated or damaged: {exc}", hint="copy the checkpoint again and compare checksums"
        ) from exc


def read_tensors(file: Path, names: Iterable[str] | None = None) -> dict[str, Any]:
    """The arrays of a safetensors file; of these names alone, as far as it has them.

    Raises:
        CheckpointCorruptError: it is missing, truncated or damaged, or has an element type that numpy lacks.
    """
    from safetensors import SafetensorError, safe_open

    refuse_pointer(file)
    try:
        with safe_open(str(file), framework="numpy") as tensors:
            there = list(tensors.keys())
            wanted = there if names is None else [name for name in names if name in there]
            return {name: tensors.get_tensor(name) for name in wanted}
    except (SafetensorError, OSError, KeyError, TypeError, AttributeError) as exc:
        raise CheckpointCorruptError(
            f"{file.name} is missing, truncated or damaged: {exc}", hint="copy the checkpoint again"
        ) from exc
