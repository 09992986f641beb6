"""The one event loop of the process: a command runs its workflow here, and nowhere else.

The first Ctrl-C cancels the workflow, which withdraws what it has begun on devices; the second ends it at once.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["run_workflow"]

T = TypeVar("T")

_WANTED_FILES = 8192
_ENOUGH_FILES = 512
"""For 64 devices at once, with what libraries and conversions hold open."""


def run_workflow(workflow: Coroutine[Any, Any, T]) -> T:
    """What the workflow returns or raises.

    Raises:
        KeyboardInterrupt: the user interrupted it.
    """
    _allow_files()
    return asyncio.run(workflow)


def _allow_files() -> None:
    """Every device takes open files; the default of many systems is few. Says so where it stays too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(_WANTED_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        wanted = soft
    if wanted < _ENOUGH_FILES:
        sys.stderr.write(
            f"edgectl: only {wanted} files may be open at once; for large fleets: ulimit -n {_ENOUGH_FILES}\n"
        )
