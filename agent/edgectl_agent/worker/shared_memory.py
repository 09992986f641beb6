"""Tensors of a graph in a file that two processes map: inputs, then outputs, each aligned to 64 bytes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from edgectl_agent.reserve import reserve
from edgectl_agent.worker.release import Array
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import BundleError, DiskFullError

__all__ = ["make_memory", "map_memory"]

_ALIGNMENT = 64
_IN_MEMORY = Path("/dev/shm")


def make_memory(component: Component) -> Path:
    """A file with room for the component's tensors, in memory where the system has such a place.

    Raises:
        BundleError: a tensor has a free dimension.
        DiskFullError: there is no room.
    """
    for spec in (*component.inputs, *component.outputs):
        if -1 in spec.shape:
            raise BundleError(
                f"component {component.name!r} runs in another interpreter, and {spec.name!r} has a free dimension",
                hint="fix the shape when converting, or install its runtime beside the others",
            )
    # A container's shared memory may have 64 MB; a disk does as well, from the page cache.
    folders = ([_IN_MEMORY] if _IN_MEMORY.is_dir() else []) + [Path(tempfile.gettempdir())]
    for folder in folders:
        try:
            return _reserved(folder, _size(component))
        except OSError as exc:
            problem = exc
    raise DiskFullError(f"no room for the tensors of {component.name!r}: {problem.strerror}") from problem


def _reserved(folder: Path, size: int) -> Path:
    handle, name = tempfile.mkstemp(prefix="edgectl-", dir=folder)
    try:
        reserve(handle, size)
    except OSError:
        os.unlink(name)
        raise
    finally:
        os.close(handle)
    return Path(name)


def map_memory(path: Path, component: Component) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs and outputs by name, as views of the file."""
    whole = np.memmap(path, np.uint8, "r+")
    at = 0
    found: list[dict[str, Array]] = []
    for specs in (component.inputs, component.outputs):
        views = {}
        for spec in specs:
            size = _bytes(spec)
            views[spec.name] = whole[at : at + size].view(spec.dtype.value).reshape(spec.shape).view(np.ndarray)
            at += _aligned(size)
        found.append(views)
    return found[0], found[1]


def _size(component: Component) -> int:
    return max(_ALIGNMENT, sum(_aligned(_bytes(spec)) for spec in _tensors(component)))


def _tensors(component: Component) -> Iterable[TensorSpec]:
    return (*component.inputs, *component.outputs)


def _bytes(spec: TensorSpec) -> int:
    return int(np.prod(spec.shape, dtype=np.int64)) * np.dtype(spec.dtype.value).itemsize


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
