"""The embedded agent as a real process: started once, found again, stopped."""

from __future__ import annotations

import os
import threading

import pytest

from edgectl_host.config import HostConfig
from edgectl_host.transport.local import LocalAgent
from edgectl_testkit.serve import short_folder


@pytest.fixture
def agents():
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
            agent.stop()


def test_it_is_started_once_found_again_and_stopped(agents):
    with agents().ensure_running() as client:
        assert client.hello().device == "local"
    first = agents().status()
    assert first.pid is not None
    agents().ensure_running().close()
    assert agents().status().pid == first.pid
    assert agents().stop() == first.pid
    after = agents().status()
    assert (after.pid, after.hello) == (None, None)


def test_a_running_agent_learns_where_a_runtime_lives_now(agents):
    with agents().ensure_running() as client:
        pid = agents().status().pid
        assert not client.facts().runtime("reference").problem
    with agents(reference="/no/such/python").ensure_running() as client:
        assert agents(reference="/no/such/python").status().pid == pid
        assert "/no/such/python" in client.facts(refresh=True).runtime("reference").problem


def test_it_outlives_a_stale_socket_and_a_kill(agents):
    agents().ensure_running().close()
    killed = agents().status().pid
    os.kill(killed, 9)
    os.waitpid(killed, 0)
    assert agents().status().hello is None
    agents().ensure_running().close()
    assert agents().status().pid not in (None, killed)


def test_two_commands_at_once_start_one_agent(agents):
    pids = []

    def command():
        agent = agents()
        agent.ensure_running().close()
        pids.append(agent.status().pid)

    threads = [threading.Thread(target=command) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 4
    assert len(set(pids)) == 1


def test_a_home_too_long_for_a_socket_works_all_the_same(agents):
    home = "x" * 120
    with agents(home).ensure_running() as client:
        assert client.hello().device == "local"
    assert home not in agents(home).address


def test_an_agent_of_another_version_is_replaced(agents, monkeypatch):
    agents().ensure_running().close()
    old = agents().status().pid
    versions = iter(["0.0.0-of-the-future"])
    from edgectl_host.transport import local

    real = local.version
    # The first comparison finds another version; the agent started then is ours.
    monkeypatch.setattr(local, "version", lambda name: next(versions, real(name)))
    agents().ensure_running().close()
    assert agents().status().pid not in (None, old)
