"""The device's own worker on this host, for the gates of conversions: started as a process, like the embedded agent."""

from __future__ import annotations

import importlib.util
import sys

__all__ = ["worker_command"]


def worker_command() -> tuple[str, ...]:
    """The worker of this installation, in this interpreter; empty where there is none."""
    if importlib.util.find_spec("edgectl_agent") is None:
        return ()
    return (sys.executable, "-m", "edgectl_agent.worker")
