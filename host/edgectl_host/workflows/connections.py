"""Work on many devices at once: connections, 64 at a time, and coroutines that stand or fall together.

Cancelling is asyncio's own: whoever cancels the task that awaits here cancels the work on every device, and each ends
its connection on the way out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from edgectl_host.fleet.inventory import Device
from edgectl_host.transport.base import DeviceClient
from edgectl_protos.domain.errors import EdgectlError

__all__ = ["Connect", "Connections", "see_through", "together"]

T = TypeVar("T")

MAX_DEVICES_AT_ONCE = 64
"""More are no faster: a call to one of a thousand takes 0.9 s instead of 0.1 s when all are called at once."""

LAST_WORD_S = 15.0
"""How long a device is waited for that is told that nobody waits any more."""

Connect = Callable[[Device], Awaitable[DeviceClient]]
"""Opens a connection, hello included."""


class Connections:
    """Connections for one piece of work, so many open at once."""

    def __init__(self, connect: Connect, *, at_once: int = MAX_DEVICES_AT_ONCE) -> None:
        self._connect = connect
        self._slots = asyncio.Semaphore(at_once)

    @asynccontextmanager
    async def to(self, device: Device) -> AsyncIterator[DeviceClient]:
        """A connection, as soon as there is room for one.

        Raises:
            UnreachableError: nobody answers.
        """
        async with self._slots, await self._connect(device) as client:
            yield client


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all of it at the same time; the results in its order. What one raises cancels the others, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in work]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def see_through(last_word: Coroutine[Any, Any, object]) -> None:
    """Tell a device that its host gives up, although the task that says so is itself being cancelled.

    A device that does not take it finds out by itself.
    """
    with suppress(EdgectlError, TimeoutError):
        async with asyncio.timeout(LAST_WORD_S):
            await asyncio.shield(last_word)
