"""Where runtimes live on this host that the agent's own interpreter cannot hold: in the environment of a toolchain."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edgectl_converters.targets.registry import TARGETS, target
from edgectl_converters.toolchain import HOST, Toolchains
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.errors import ToolchainError
from edgectl_protos.domain.program import Generate, flat_steps

__all__ = ["homes_of", "lives_here", "ready_homes", "seat_of"]


def homes_of(runtimes: Iterable[str], toolchains: Toolchains, progress: Callable[[str], None]) -> dict[str, str]:
    """The Pythons of those of these runtimes that live in a toolchain, which is made if need be.

    Raises:
        ToolchainError: it cannot be made.
    """
    homes = {name: target(name).home for name in runtimes if name in TARGETS}
    return {name: str(toolchains.get(home, progress).python) for name, home in homes.items() if home != HOST}


def seat_of(manifest: Manifest) -> str:
    """The toolchain in which a release is judged: that of a component that generates, whose cache lives in one process.
    Otherwise the host, which borrows from the others.
    """
    generating = {step.component for step, _ in flat_steps(manifest.program.steps) if isinstance(step, Generate)}
    homes = [target(one.runtime).home for one in manifest.components if one.name in generating]
    return next((home for home in homes if home != HOST), HOST)


def lives_here(runtime: str) -> bool:
    """Whether edgectl's own environment holds a runtime; so does whatever is no runtime."""
    return runtime not in TARGETS or target(runtime).home == HOST


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
