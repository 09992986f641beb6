"""Blocking work beside the event loop: a conversion takes minutes, and devices are to be served meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["in_thread"]

T = TypeVar("T")

_GRACE_S = 5.0


async def in_thread(function: Callable[..., T], *arguments: Any, stop: Callable[[], None]) -> T:
    """What the function returns or raises, called in a thread of its own; whoever is cancelled meanwhile calls `stop`,
    and gives the function a moment to clean up.

    Not `asyncio.to_thread`: the end of the loop, and of the process, waits for that one's threads, however often the
    user interrupts.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type] # None is a result too

    def work() -> None:
        try:
            outcome: tuple[T | None, BaseException | None] = function(*arguments), None
        except BaseException as exc:  # noqa: BLE001 - raised again, where it is awaited
            outcome = None, exc
        # The loop has ended when nobody waited.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=work, name="work", daemon=True).start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        stop()
        try:
            await asyncio.wait([done], timeout=_GRACE_S)
        finally:
            # Its end was asked for: how it ended is no news.
            if not done.cancel():
                done.exception()
        raise
