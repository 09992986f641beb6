"""Toolchains as they are now; one that is damaged is in the list with what is wrong."""

from __future__ import annotations

from dataclasses import dataclass

from edgectl_converters.toolchain import Toolchain, Toolchains
from edgectl_host.workflows.ask import failure_of
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.errors import ToolchainError

__all__ = ["Listed", "find_toolchain", "list_toolchains"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A toolchain, or why it cannot be used. Without a lock it would have to be made."""

    name: str
    chain: Toolchain | None = None
    failure: Failure | None = None


def list_toolchains(toolchains: Toolchains) -> tuple[Listed, ...]:
    """All of them; nothing is made."""
    return tuple(find_toolchain(toolchains, name) for name in toolchains.names())


def find_toolchain(toolchains: Toolchains, name: str) -> Listed:
    """One of them; nothing is made."""
    try:
        return Listed(name, toolchains.find(name))
    except ToolchainError as exc:
        return Listed(name, failure=failure_of(exc))
