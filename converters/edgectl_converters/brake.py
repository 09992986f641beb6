"""The brake of conversions: pulled from another thread, it kills the processes that they wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgectl_protos.domain.errors import CancelledError

__all__ = ["Brake"]


class Brake:
    """Once pulled it stays pulled: what would begin afterwards is refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pulled = False
        self._kills: list[Callable[[], None]] = []

    def pull(self) -> None:
        """End what runs."""
        with self._lock:
            self._pulled = True
            kills = list(self._kills)
        for kill in kills:
            kill()

    def check(self) -> None:
        """Go on only if it was not pulled.

        Raises:
            CancelledError: it was.
        """
        if self._pulled:
            raise CancelledError("the conversion was interrupted")

    @contextmanager
    def held_by(self, kill: Callable[[], None]) -> Iterator[None]:
        """While the block runs, pulling the brake calls this.

        Raises:
            CancelledError: it was pulled before.
        """
        with self._lock:
            self.check()
            self._kills.append(kill)
        try:
            yield
        finally:
            with self._lock:
                self._kills.remove(kill)
