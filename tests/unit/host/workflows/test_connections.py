"""Connections, so many at once, and coroutines that stand or fall together."""

from __future__ import annotations

import asyncio

import pytest

from edgectl_host.fleet.inventory import Device
from edgectl_host.workflows.connections import Connections, together
from edgectl_testkit.fake_device import FakeDevice


async def test_no_more_connections_are_open_than_allowed():
    fake = FakeDevice("a")
    connections = Connections(lambda device: fake.connect(), at_once=3)
    most = []

    async def work(number):
        async with connections.to(Device("a")) as client:
            most.append(fake.open_clients)
            await client.facts()
        return number

    assert await together(work(number) for number in range(10)) == list(range(10))
    assert max(most) == 3
    assert fake.open_clients == 0


async def test_no_work_is_no_results():
    assert await together([]) == []


async def test_what_one_raises_cancels_the_others_and_is_raised_as_it_is():
    ended = []

    async def waits():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("waits")

    async def fails():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await together([waits(), fails(), waits()])
    assert ended == ["waits", "waits"]


async def test_who_is_cancelled_closes_its_connections():
    fake = FakeDevice("a")
    connections = Connections(lambda device: fake.connect())
    reached = asyncio.Event()

    async def stuck():
        async with connections.to(Device("a")):
            reached.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(together([stuck()]))
    await reached.wait()
    assert fake.open_clients == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert fake.open_clients == 0
