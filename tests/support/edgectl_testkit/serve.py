"""The real agent, in this process, on a temporary unix socket.

    with serve(tmp_path / "state") as address: ...

By default its worker is the stub; `real_worker=True` takes the real one.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgectl_agent.app import Agent
from edgectl_agent.config import AgentConfig, SandboxConfig
from edgectl_agent.core.store.atomic import Disk
from edgectl_testkit import stub_worker

__all__ = ["agent_config", "serve", "short_folder"]


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A temporary folder whose name is short enough for a unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="edg-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def agent_config(state_dir: Path, *listen: str, real_worker: bool = False, **changes: Any) -> AgentConfig:
    """The configuration of an agent under test: small reserve, short waits."""
    config = AgentConfig(
        state_dir=state_dir,
        listen=listen,
        device="bench",
        board="generic-x86_64",
        reserve_bytes=0,
        stop_grace_s=0.5,
        worker_stop_s=2.0,
    )
    if not real_worker:
        # The stub runs nothing of a bundle, and is started hundreds of times.
        config = replace(
            config,
            worker_arguments=(str(Path(stub_worker.__file__).resolve()),),
            sandbox=SandboxConfig(active=False),
        )
    return replace(config, **changes)


@contextlib.contextmanager
def serve(state_dir: Path, *, real_worker: bool = False, disk: Disk | None = None, **changes: Any) -> Iterator[str]:
    """A running agent; its address. `changes` are fields of AgentConfig."""
    with short_folder() as folder:
        config = agent_config(state_dir, f"unix:{folder / 'a.sock'}", real_worker=real_worker, **changes)
        with Agent.from_config(config, disk=disk) as agent:
            yield agent.addresses[0]
