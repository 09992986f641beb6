"""Patience with a device that stops answering: what was begun there goes on, so it is asked again.

Asked after pauses that grow, until it has been silent for too long. Only for what may be asked twice: calls that name
their deployment or run, and streams that begin after what was heard.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from edgectl_host.workflows.progress import Progress, Update
from edgectl_protos.domain.errors import UnreachableError

__all__ = ["Heard", "Patience"]

T = TypeVar("T")

Heard = Callable[[], None]
"""Called by an attempt whenever the device has said something."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a device may be silent, and how often it is asked meanwhile."""

    silence_s: float = 120.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 8.0

    async def keep_asking(self, device: str, attempt: Callable[[Heard], Awaitable[T]], progress: Progress) -> T:
        """What the attempt returns; it is made again while the device does not answer.

        Raises:
            UnreachableError: it was silent for too long.
            EdgectlError: what else the attempt raises.
        """
        silent_since: float | None = None
        pause_s = self.first_pause_s

        def heard() -> None:
            nonlocal silent_since, pause_s
            silent_since, pause_s = None, self.first_pause_s

        while True:
            try:
                return await attempt(heard)
            except UnreachableError:
                now = time.monotonic()
                silent_since = now if silent_since is None else silent_since
                if now + pause_s - silent_since > self.silence_s:
                    raise
                progress(Update(device, f"does not answer; asked again for up to {self.silence_s:.0f} s"))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self.longest_pause_s)
