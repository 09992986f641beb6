"""Who holds the device: one deployment, rollback or run at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edgectl_protos.domain.errors import BusyError

__all__ = ["Occupancy"]


class Occupancy:
    """A place for one. The holder describes itself, taking no lock, when somebody else asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._describe: Callable[[], str] | None = None

    def take(self, describe: Callable[[], str]) -> None:
        """Hold the device.

        Raises:
            BusyError: somebody does already; says who, and what they are doing.
        """
        with self._lock:
            if self._describe is not None:
                raise BusyError(
                    f"the device is busy: {self._describe()}",
                    hint="wait for it, or look: edgectl status; runs: edgectl runs --fleet NAME, or runs cancel ID",
                )
            self._describe = describe

    @property
    def is_free(self) -> bool:
        """Whether nobody holds the device now."""
        return self._describe is None

    def give_back(self) -> None:
        """Let the next one in."""
        with self._lock:
            self._describe = None
