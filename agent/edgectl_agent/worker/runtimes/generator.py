"""Generators: runtimes that own a KV cache and are asked token by token.

`CachedGenerator` makes one of any graph whose component binds states (its KV cache as inputs and outputs); a runtime
with a cache of its own fills the same interface.
"""

from __future__ import annotations

import abc

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import Graph
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import BundleError

__all__ = ["CachedGenerator", "Generator"]

_POSITIONS = "positions"


class Generator(abc.ABC):
    """A language component. Every `prefill` begins a new text."""

    @abc.abstractmethod
    def prefill(self, ids: Array) -> Array:
        """Take token ids [n] (int64); the logits [vocabulary] of the token after them."""

    @abc.abstractmethod
    def decode(self, token: int) -> Array:
        """Take one token; the logits [vocabulary] of the next."""


class CachedGenerator(Generator):
    """A graph of (ids [1, n], states …, positions [1, n] if it has them) → (logits [1, n, vocabulary], states …)."""

    def __init__(self, graph: Graph, component: Component) -> None:
        self._graph = graph
        self._component = component
        self._states = [spec for spec in component.inputs if spec.name in component.states]
        others = [spec.name for spec in component.inputs if spec.name not in component.states]
        self._positions = _POSITIONS in others
        ids = [name for name in others if name != _POSITIONS]
        logits = [spec.name for spec in component.outputs if spec.name not in component.states.values()]
        if len(ids) != 1 or len(logits) != 1:
            raise BundleError(
                f"component {component.name!r} cannot generate: beside its states it takes {', '.join(others)} "
                f"and gives {', '.join(logits)}",
                hint="convert the checkpoint again: edgectl convert",
            )
        self._ids, self._logits = ids[0], logits[0]
        self._cache: dict[str, Array] = {}
        self._length = 0

    def prefill(self, ids: Array) -> Array:
        """Begin a text with these ids."""
        for spec in self._states:
            if -1 in spec.shape or spec.name not in self._cache:
                self._cache[spec.name] = _empty(spec)
            else:
                self._cache[spec.name].fill(0)
        self._length = 0
        return self._step(np.ascontiguousarray(ids, np.int64).reshape(1, -1))

    def decode(self, token: int) -> Array:
        """Go on with this token."""
        return self._step(np.array([[token]], np.int64))

    def _step(self, ids: Array) -> Array:
        feeds = {self._ids: ids, **self._cache}
        count = ids.shape[1]
        if self._positions:
            feeds[_POSITIONS] = np.arange(self._length, self._length + count, dtype=np.int64)[None]
        outputs = self._graph.infer(feeds)
        for spec in self._states:
            found = outputs[self._component.states[spec.name]]
            if -1 in spec.shape:
                self._cache[spec.name] = found
            else:
                # The graph gives it in the same place each time, and may write there before it has read its input.
                np.copyto(self._cache[spec.name], found)
        self._length += count
        logits: Array = outputs[self._logits].reshape(-1, outputs[self._logits].shape[-1])[-1]
        return logits


def _empty(spec: TensorSpec) -> Array:
    return np.zeros([0 if size == -1 else size for size in spec.shape], spec.dtype.value)
