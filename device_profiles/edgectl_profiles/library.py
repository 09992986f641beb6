"""The boards that edgectl knows."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path

from edgectl_profiles.match import misfits
from edgectl_profiles.schema import BoardProfile, parse_profile
from edgectl_protos.domain.device import DeviceFacts
from edgectl_protos.domain.errors import ProfileError

__all__ = ["detect", "load", "names"]

_BOARDS = Path(__file__).parent / "boards"


@cache
def names() -> tuple[str, ...]:
    """Names of all boards."""
    return tuple(sorted(path.stem for path in _BOARDS.glob("*.yaml")))


@cache
def load(name: str) -> BoardProfile:
    """The profile of a board, by its name or by another one that its file gives.

    Raises:
        ProfileError: it is not known, or its file is not valid.
    """
    if name in names():
        return parse_profile(_BOARDS / f"{name}.yaml")
    known = _aliases()
    if name in known:
        return load(known[name])
    near = difflib.get_close_matches(name, (*names(), *known), n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names())}"
    raise ProfileError(f"no board {name!r}", hint=hint)


@cache
def _aliases() -> dict[str, str]:
    return {alias: name for name in names() for alias in load(name).aliases}


def detect(facts: DeviceFacts) -> str:
    """The board of a device: what it stands in for, what it was told, or the most particular one that fits.

    Raises:
        ProfileError: no board fits.
    """
    if facts.stand_in_for or facts.board:
        return load(facts.stand_in_for or facts.board).board
    fitting = [profile for profile in map(load, names()) if profile.detected and not misfits(profile, facts)]
    if not fitting:
        raise ProfileError(
            f"no board fits {facts.device} ({facts.arch}, {facts.cpu_model})",
            hint="name one: edgectl-agent run --board NAME, or board: in fleet.yaml",
        )
    return max(fitting, key=lambda profile: (len(profile.cpu), len(profile.isa))).board
