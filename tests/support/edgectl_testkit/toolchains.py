"""Toolchains for tests, in the checkout's `.cache/tests`: small ones are made once, large by `make test-families`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgectl_converters.toolchain import Toolchain, Toolchains
from edgectl_protos.domain.errors import ToolchainError

__all__ = ["packages_of", "toolchain_of"]

_SMALL = ("torch", "ncnn", "tensorrt_rtx")
_LARGE_TOO = "EDGECTL_TEST_FAMILIES"
_CACHE = Path(__file__).resolve().parents[3] / ".cache" / "tests"


def toolchain_of(name: str) -> Toolchain:
    """The toolchain of this name; the test is skipped where it cannot be made, or is large and not there."""
    chains = Toolchains(_CACHE, _CACHE / "config")
    try:
        if name not in _SMALL and not chains.find(name).lock and not os.environ.get(_LARGE_TOO):
            pytest.skip(f"the {name} toolchain is large and not made here: make test-families")
        return chains.get(name, print)
    except ToolchainError as exc:
        pytest.skip(exc.message)


def packages_of(name: str) -> Path:
    """Where the packages of a toolchain stand."""
    return next((toolchain_of(name).python.parent.parent / "lib").glob("python*/site-packages"))
