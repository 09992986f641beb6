"""Reads the .npz files that users bring: arrays without pickles, or one of our errors; size is bounded before that."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointError

if TYPE_CHECKING:
    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[Any]]

__all__ = ["read_npz"]

_MAX_SIZE_BYTES = 8 << 30
# What numpy and zipfile raise for bytes that are no archive of arrays: a damaged header is parsed as Python, a member
# may be encrypted, or claim a size that no machine has.
_UNREADABLE = (
    *(OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError),
    *(AttributeError, TypeError, KeyError, SyntaxError, tokenize.TokenError, RuntimeError, MemoryError, RecursionError),
)


def read_npz(path: Path) -> Arrays:
    """All arrays of the file, in their order.

    Raises:
        CheckpointCorruptError: it is damaged, or no .npz.
        CheckpointError: it is missing, larger than edgectl reads, or holds pickled objects.
    """
    import numpy as np

    if not path.is_file():
        raise CheckpointError(f"{path.name} is missing")
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > _MAX_SIZE_BYTES:
                raise CheckpointError(
                    f"{path.name} holds {size / 1e9:.1f} GB; edgectl reads {_MAX_SIZE_BYTES / 1e9:.1f}"
                )
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as file:
                # A member that is no .npy comes as its bytes.
                found: Arrays = {name: np.asanyarray(file[name]) for name in file.files}
    except _UNREADABLE as exc:
        raise CheckpointCorruptError(
            f"{path.name} cannot be read: {type(exc).__name__}: {' '.join(str(exc).split())[:200]}",
            hint="write it with numpy.savez, of arrays of numbers and texts",
        ) from exc
    for name, array in found.items():
        if array.dtype.kind not in "biufU":
            raise CheckpointError(f"{path.name}: {name!r} holds {array.dtype}, neither numbers nor texts")
    return found
