"""Blocking work beside the event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from edgectl_host.workflows.threads import in_thread


async def test_the_loop_goes_on_while_a_function_blocks():
    go_on = threading.Event()

    async def meanwhile():
        go_on.set()

    result, _ = await asyncio.gather(
        in_thread(lambda word: (go_on.wait(10), word)[1], "done", stop=go_on.set), meanwhile()
    )
    assert result == "done"


async def test_what_it_raises_is_raised_where_it_is_awaited():
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 / 0, stop=threading.Event().set)


async def test_who_is_cancelled_stops_the_function_and_sees_it_clean_up():
    begun, stop, cleaned = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        stop.wait(10)
        cleaned.append(True)
        raise ZeroDivisionError

    task = asyncio.create_task(in_thread(work, stop=stop.set))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == [True]


def test_neither_the_loop_nor_the_process_waits_for_one_that_nobody_awaits_any_more():
    code = """
import asyncio, threading
from edgectl_host.workflows.threads import in_thread

async def main():
    begun = threading.Event()
    deaf = in_thread(lambda: (begun.set(), threading.Event().wait()), stop=lambda: None)
    task = asyncio.create_task(deaf)
    while not begun.is_set():
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    # A second time, while it is waited for.
    task.cancel()
    await asyncio.wait([task])

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
