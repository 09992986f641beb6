"""Toolchains for tests, made in the checkout's `.cache/tests` once."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgectl_converters.toolchain import Toolchain, Toolchains
from edgectl_protos.domain.errors import ToolchainError

__all__ = ["packages_of", "toolchain_of"]

_CACHE = Path(__file__).resolve().parents[3] / ".cache" / "tests"


def toolchain_of(name: str) -> Toolchain:
    """The toolchain of this name; the test is skipped where it cannot be made."""
    try:
        return Toolchains(_CACHE, _CACHE / "config").get(name, print)
    except ToolchainError as exc:
        pytest.skip(exc.message)


def packages_of(name: str) -> Path:
    """Where the packages of a toolchain stand."""
    return next((toolchain_of(name).python.parent.parent / "lib").glob("python*/site-packages"))
