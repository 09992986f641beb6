"""Where runtimes live on this host that the agent's own interpreter cannot hold: in the environment of a toolchain."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edgectl_converters.targets.registry import TARGETS, target
from edgectl_converters.toolchain import HOST, Toolchains
from edgectl_protos.domain.errors import ToolchainError

__all__ = ["homes_of", "ready_homes"]


def homes_of(runtimes: Iterable[str], toolchains: Toolchains, progress: Callable[[str], None]) -> dict[str, str]:
    """The Pythons of those of these runtimes that live in a toolchain, which is made if need be.

    Raises:
        ToolchainError: it cannot be made.
    """
    homes = {name: target(name).home for name in runtimes if name in TARGETS}
    return {name: str(toolchains.get(home, progress).python) for name, home in homes.items() if home != HOST}


def ready_homes(toolchains: Toolchains) -> dict[str, str]:
    """The Pythons of all runtimes whose toolchain is there."""
    found = {}
    for name in TARGETS:
        home = target(name).home
        if home == HOST:
            continue
        try:
            toolchain = toolchains.find(home)
        except ToolchainError:
            # An environment of the user's that is gone: whoever asks for the runtime is told.
            continue
        if toolchain.lock:
            found[name] = str(toolchain.python)
    return found
