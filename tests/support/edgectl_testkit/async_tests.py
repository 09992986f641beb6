"""Tests and fixtures written as coroutines: each test has one event loop, from its first fixture to its last.

Loaded by tests/conftest.py. Like the command line's, the loop turns an interrupt into a cancellation.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

__all__ = ["runner"]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """The event loop of a test."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: pytest.FixtureRequest) -> Generator[None, Any, Any]:
    """Let a coroutine, or an async generator, be a fixture."""
    function = fixturedef.func
    if inspect.isasyncgenfunction(function):
        fixturedef.func = _as_generator(function, request.getfixturevalue("runner"))
    elif inspect.iscoroutinefunction(function):
        fixturedef.func = _as_function(function, request.getfixturevalue("runner"))
    else:
        return (yield)
    try:
        return (yield)
    finally:
        fixturedef.func = function


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Let a coroutine be a test."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    pyfuncitem._request.getfixturevalue("runner").run(pyfuncitem.obj(**arguments))
    return True


def _as_function(function: Callable[..., Any], runner: asyncio.Runner) -> Callable[..., Any]:
    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        return runner.run(function(*arguments, **named))

    return called


def _as_generator(function: Callable[..., Any], runner: asyncio.Runner) -> Callable[..., Iterator[Any]]:
    @functools.wraps(function)
    def generator(*arguments: Any, **named: Any) -> Iterator[Any]:
        made = function(*arguments, **named)

        async def step() -> Any:
            return await anext(made)

        yield runner.run(step())
        with pytest.raises(StopAsyncIteration):
            runner.run(step())

    return generator
