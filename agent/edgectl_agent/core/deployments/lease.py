"""How long the host of a staging deployment may be silent: renewed by every call of it."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Lease"]


class Lease:
    """After `lease_s` of silence another host may take the device; after `deadline_s` the deployment ends by itself."""

    def __init__(self, lease_s: float, deadline_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease_s = lease_s
        self.deadline_s = deadline_s
        self._clock = clock
        self._heard_s = clock()

    def renew(self) -> None:
        """The host was heard of."""
        self._heard_s = self._clock()

    @property
    def silent_s(self) -> float:
        """How long the host has been silent."""
        return self._clock() - self._heard_s

    @property
    def left_s(self) -> float:
        """How long the host still holds the device; 0 or less: it may be superseded."""
        return self._lease_s - self.silent_s

    @property
    def deadline_left_s(self) -> float:
        """How long until its deployment ends by itself."""
        return self.deadline_s - self.silent_s
