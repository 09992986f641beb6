"""The action queue under synchronous chunks: filled when empty, `use` of each chunk are executed."""

from __future__ import annotations

from edgectl_agent.worker.release import Array

__all__ = ["ActionQueue"]


class ActionQueue:
    """Actions of the chunk in execution; `source_ns` is the oldest stamp of what it was inferred from."""

    def __init__(self, use: int) -> None:
        self._use = use
        self._chunk: Array | None = None
        self._next = use
        self.source_ns = 0

    @property
    def empty(self) -> bool:
        """Whether a new chunk is needed."""
        return self._next >= self._use

    def put(self, chunk: Array, source_ns: int) -> None:
        """Replace what is left by a new chunk `[chunk, *action]`."""
        self._chunk = chunk
        self.source_ns = source_ns
        self._next = 0

    def pop(self) -> Array:
        """The next action; the queue must not be empty."""
        assert self._chunk is not None
        action: Array = self._chunk[self._next]
        self._next += 1
        return action

    def clear(self) -> None:
        """Forget the chunk in execution."""
        self._next = self._use
