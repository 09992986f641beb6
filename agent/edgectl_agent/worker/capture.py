"""Captures what enters a component while the program runs on recorded observations: the data of a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgectl_agent.worker.release import Array, Release, read_npz
from edgectl_protos.domain.errors import BundleError, DiskFullError, WorkerError

__all__ = ["Capture", "picked", "read_observations"]


class Capture:
    """Keeps the calls that were picked, counted over all runs: a hook of the executor."""

    def __init__(self, component: str, calls: int, limit: int) -> None:
        self._component = component
        self._wanted = picked(calls, limit)
        self._seen = 0
        self._rows: dict[str, list[Array]] = {}

    def before(self, component: str, inputs: Mapping[str, Array]) -> None:
        """See a call of any component."""
        if component != self._component:
            return
        if self._seen in self._wanted:
            for port, array in inputs.items():
                self._rows.setdefault(port, []).append(np.array(array))
        self._seen += 1

    def after(self, component: str, outputs: Mapping[str, Array]) -> None:
        """What comes out is not kept."""

    def write(self, path: Path) -> int:
        """Write `<port>` [calls, *shape] of each input; how many calls there are.

        Raises:
            BundleError: an input has a free dimension, and not one size.
            DiskFullError: there is no room.
            WorkerError: the file cannot be written.
        """
        for port, rows in self._rows.items():
            if len({row.shape for row in rows}) > 1:
                raise BundleError(f"{port!r} of {self._component!r} has another shape from call to call")
        arrays = {port: np.stack(rows) for port, rows in self._rows.items()}
        try:
            with path.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
        except OSError as exc:
            error = DiskFullError if exc.errno in (28, 122) else WorkerError
            raise error(f"what was captured cannot be written to {path.name}: {exc.strerror}") from exc
        return len(next(iter(arrays.values()), ()))


def picked(calls: int, limit: int) -> frozenset[int]:
    """At most `limit` of `calls` places, evenly spread."""
    return frozenset(int(at) for at in np.linspace(0, calls - 1, max(0, min(calls, limit))).round())


def read_observations(path: Path, release: Release) -> list[dict[str, Array]]:
    """The observations of an .npz, one by one.

    Raises:
        BundleError: one that the policy takes is missing.
    """
    arrays = read_npz(path)
    names = [feature.name for feature in release.manifest.policy.observations]
    for name in names:
        if name not in arrays or arrays[name].ndim == 0:
            raise BundleError(f"{path.name} has no {name}; it has: {', '.join(sorted(arrays)) or 'nothing'}")
    lengths = {len(arrays[name]) for name in names}
    if len(lengths) > 1:
        raise BundleError(f"{path.name} has observations of different numbers: {', '.join(map(str, sorted(lengths)))}")
    return [{name: np.asarray(arrays[name][case]) for name in names} for case in range(max(lengths, default=0))]
