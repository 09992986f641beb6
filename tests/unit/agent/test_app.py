"""The order of an agent's start."""

from __future__ import annotations

import stat

from edgectl_agent.app import Agent
from edgectl_agent.core.store.atomic import Disk
from edgectl_testkit.serve import agent_config, short_folder


def test_the_narrow_mode_of_the_socket_is_that_of_nothing_else_that_is_made_at_the_start(tmp_path):
    seen = []
    with short_folder() as folder:
        socket = folder / "a.sock"

        class WatchedDisk(Disk):
            def sweep(self, folder):
                # Deployments that an earlier agent left go on right after.
                seen.append(socket.exists())
                super().sweep(folder)

        with Agent.from_config(agent_config(tmp_path / "state", f"unix:{socket}"), disk=WatchedDisk()):
            assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        assert all(seen)
        assert seen
