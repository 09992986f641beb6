"""The tensors of one program while it runs: buffers that its operations own, and what the present run was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_agent.worker.spans import SpanTable
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.errors import ProgramError

__all__ = ["Operation", "Tensors", "Values"]

Values = dict[str, Any]
Operation = Callable[[Values], None]
"""One step of a program as it is run: it changes the tensors."""


class Tensors:
    """Tensors by name. `arrays` are those of the release; `given` and `spans` belong to the run."""

    def __init__(self, specs: Mapping[str, TensorSpec], arrays: Mapping[str, Array]) -> None:
        self.specs = specs
        self.values: Values = {}
        self.given: Mapping[str, Array] = {}
        self.spans: SpanTable | None = None
        self._arrays = arrays
        self._resets: list[Callable[[], None]] = []

    def buffer(self, name: str) -> Array:
        """The tensor's own memory, made once.

        Raises:
            ProgramError: no such array can be made.
        """
        if name not in self.values:
            spec = self.specs[name]
            try:
                self.values[name] = np.zeros(spec.shape, spec.dtype.value)
            except (TypeError, ValueError, MemoryError) as exc:
                raise ProgramError(
                    f"there is no room for the tensor {name!r}, {spec.dtype.value}{list(spec.shape)}: {exc}"
                ) from exc
        found: Array = self.values[name]
        return found

    def keep(self, name: str) -> None:
        """Make the tensor a state: zero at the start of an episode, and in one place for good."""
        buffer = self.buffer(name)

        def zero() -> None:
            buffer.fill(0)
            self.values[name] = buffer

        self.on_reset(zero)

    def on_reset(self, forget: Callable[[], None]) -> None:
        """Call this at the start of an episode."""
        self._resets.append(forget)

    def reset(self) -> None:
        """Begin a new episode."""
        for forget in self._resets:
            forget()

    def array(self, step: str, name: str) -> Array:
        """An array of the release that a step names.

        Raises:
            ProgramError: there is none, or it holds no numbers.
        """
        if name not in self._arrays:
            raise ProgramError(
                f"step {step!r} names the array {name!r}; the release has: {', '.join(sorted(self._arrays)) or 'none'}"
            )
        found = self._arrays[name]
        if found.dtype.kind not in "fiub":
            raise ProgramError(f"step {step!r}: the array {name!r} holds {found.dtype.name}, no numbers")
        return found

    @property
    def arrays(self) -> Mapping[str, Array]:
        """All arrays of the release."""
        return self._arrays
