"""The embedded agent as a real process: started once, found again, stopped."""

from __future__ import annotations

import asyncio
import os

import pytest

from edgectl_host.config import HostConfig
from edgectl_host.transport.local import LocalAgent
from edgectl_testkit.serve import short_folder


@pytest.fixture
async def agents():
    """Makes launchers for one home, and ends whatever they started."""
    with short_folder() as folder:
        made = []

        def make(home: str = "home", **interpreters: str) -> LocalAgent:
            environ = {"EDGECTL_HOME": str(folder / home), "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
            config = HostConfig.from_environment(environ, uid=os.getuid())
            made.append(LocalAgent(config.local_agent_dir, config.local_socket, interpreters=lambda: interpreters))
            return made[-1]

        yield make
        for agent in made:
            await agent.stop()


async def test_it_is_started_once_found_again_and_stopped(agents):
    async with await agents().ensure_running() as client:
        assert (await client.hello()).device == "local"
    first = await agents().status()
    assert first.pid is not None
    await (await agents().ensure_running()).close()
    assert (await agents().status()).pid == first.pid
    assert await agents().stop() == first.pid
    after = await agents().status()
    assert (after.pid, after.hello) == (None, None)


async def test_a_running_agent_learns_where_a_runtime_lives_now(agents):
    async with await agents().ensure_running() as client:
        pid = (await agents().status()).pid
        assert not (await client.facts()).runtime("reference").problem
    async with await agents(reference="/no/such/python").ensure_running() as client:
        assert (await agents(reference="/no/such/python").status()).pid == pid
        assert "/no/such/python" in (await client.facts(refresh=True)).runtime("reference").problem


async def test_it_outlives_a_stale_socket_and_a_kill(agents):
    await (await agents().ensure_running()).close()
    killed = (await agents().status()).pid
    os.kill(killed, 9)
    os.waitpid(killed, 0)
    assert (await agents().status()).hello is None
    await (await agents().ensure_running()).close()
    assert (await agents().status()).pid not in (None, killed)


async def test_two_commands_at_once_start_one_agent(agents):
    async def command():
        agent = agents()
        await (await agent.ensure_running()).close()
        return (await agent.status()).pid

    pids = await asyncio.gather(*(command() for _ in range(4)))
    assert len(set(pids)) == 1


async def test_a_home_too_long_for_a_socket_works_all_the_same(agents):
    home = "x" * 120
    async with await agents(home).ensure_running() as client:
        assert (await client.hello()).device == "local"
    assert home not in agents(home).address


async def test_an_agent_of_another_version_is_replaced(agents, monkeypatch):
    await (await agents().ensure_running()).close()
    old = (await agents().status()).pid
    versions = iter(["0.0.0-of-the-future"])
    from edgectl_host.transport import local

    real = local.version
    # The first comparison finds another version; the agent started then is ours.
    monkeypatch.setattr(local, "version", lambda name: next(versions, real(name)))
    await (await agents().ensure_running()).close()
    assert (await agents().status()).pid not in (None, old)
