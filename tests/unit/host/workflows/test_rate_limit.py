"""Bytes a second of everything that is sent; the clock is the test's."""

from __future__ import annotations

import asyncio

import pytest

from edgectl_host.workflows.rate_limit import RateLimit


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def limit_of(bytes_per_s):
    clock = Clock()
    return clock, RateLimit(bytes_per_s, clock=clock, sleep=clock.sleep)


async def test_bytes_take_their_time():
    clock, limit = limit_of(1000)
    for _ in range(50):
        await limit.take(200)
    # The last may begin when those before it are through.
    assert clock.now_s - 100.0 == pytest.approx(49 * 0.2)


async def test_what_was_not_used_is_made_up_for_only_a_little():
    clock, limit = limit_of(1000)
    clock.now_s += 3600
    before = clock.now_s
    for _ in range(11):
        await limit.take(100)
    assert clock.now_s - before == pytest.approx(1.0 - 0.1)


async def test_those_who_share_it_take_turns():
    slept, turns = [], []

    async def sleep(seconds):
        slept.append(seconds)
        await asyncio.sleep(0)

    limit = RateLimit(1e6, clock=lambda: 100.0, sleep=sleep)

    async def send(name):
        for _ in range(5):
            await limit.take(10_000)
            turns.append(name)

    await asyncio.gather(send("a"), send("b"))
    # The very first begins at once, so its next is asked for before the other's first.
    assert turns == ["a", *["a", "b"] * 4, "b"]
    assert slept == pytest.approx([0.01 * place for place in range(1, 10)])
