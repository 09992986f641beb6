"""No more bytes a second than the user allows, for everything that this process sends together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

__all__ = ["RateLimit"]

_BURST_S = 0.1
"""What was not used may be made up for within this time: timers are not exact."""


class RateLimit:
    """Who wants to send takes a turn; turns come in the order in which they were asked for, so devices share fairly."""

    def __init__(
        self,
        bytes_per_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.bytes_per_s = bytes_per_s
        self._clock = clock
        self._sleep = sleep
        self._free_s = clock()

    async def take(self, size_bytes: int) -> None:
        """Returns when so many bytes may be sent."""
        now_s = self._clock()
        begins_s = max(self._free_s, now_s - _BURST_S)
        self._free_s = begins_s + size_bytes / self.bytes_per_s
        if begins_s > now_s:
            await self._sleep(begins_s - now_s)
