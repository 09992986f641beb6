"""The toolchain in which llama.cpp lives, for tests: it compiles for ten minutes, so none makes it."""

from __future__ import annotations

import os
import sys

import pytest

from edgectl_converters.toolchain import Toolchain, Toolchains
from edgectl_host.config import HostConfig

__all__ = ["borrow", "compiled"]


def compiled(name: str) -> Toolchain:
    """The toolchain if this user has it, else the test is skipped."""
    own = HostConfig.from_environment(os.environ, uid=os.getuid())
    found = Toolchains(own.cache_dir, own.config_dir, own.python_search).find(name)
    if not found.lock:
        pytest.skip(f"the {name} toolchain, which compiles for ten minutes, is not made: edgectl toolchain make {name}")
    return found


def borrow(found: Toolchain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process import what is in the toolchain, after everything of its own."""
    packages = next((found.python.parent.parent / "lib").glob("python*/site-packages"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages)])
