"""The real agent as a process of its own, on a disk that kills it at a chosen write.

    python -m edgectl_testkit.agent_process STATE_DIR SOCKET WRITE before|after [FIELD=NUMBER …]

Fields are those of its configuration. It says "ready" when hosts may call.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

from edgectl_agent.app import Agent
from edgectl_testkit.faults import DyingDisk
from edgectl_testkit.serve import agent_config


def main(state_dir: str, socket: str, write: str, when: str, *fields: str) -> None:
    """Serve until killed, by itself or by the test."""
    changes: dict[str, Any] = {name: int(value) for name, _, value in (field.partition("=") for field in fields)}
    config = agent_config(Path(state_dir), f"unix:{socket}", **changes)
    # Held by the block: gRPC stops a server that nobody refers to any more.
    with Agent.from_config(config, disk=DyingDisk(int(write), when)):
        print("ready", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
