"""Toolchains as they are now."""

from __future__ import annotations

from pathlib import Path

from edgectl_converters.toolchain import Toolchain
from edgectl_host.workflows.toolchains import list_toolchains
from edgectl_protos.domain.errors import ToolchainError


class Chains:
    """One that is well, one whose interpreter was removed."""

    def names(self):
        return ("host", "trained")

    def find(self, name):
        if name == "trained":
            raise ToolchainError("its interpreter is gone", hint="forget it")
        return Toolchain(name, Path("python"), "ab" * 32, "this environment")


def test_one_that_is_damaged_does_not_hide_the_others():
    well, damaged = list_toolchains(Chains())
    assert well.chain.origin == "this environment"
    assert (damaged.chain, damaged.failure.message, damaged.failure.hint) == (
        None, "its interpreter is gone", "forget it",
    )  # fmt: skip
