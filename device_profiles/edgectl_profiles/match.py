"""Does a device fit a board? Pure: facts × profile → reasons why not."""

from __future__ import annotations

from edgectl_profiles.schema import BoardProfile
from edgectl_protos.domain.device import DeviceFacts

__all__ = ["misfits"]


def misfits(profile: BoardProfile, facts: DeviceFacts) -> tuple[str, ...]:
    """Why this device is not that board; empty when it fits. A declared stand-in fits the board it stands for."""
    if facts.stand_in_for == profile.board:
        return ()
    reasons = []
    if facts.arch != profile.arch:
        reasons.append(f"{facts.device} is {facts.arch}, {profile.board} is {profile.arch}")
    missing = [name for name in profile.isa if name not in facts.isa]
    if missing:
        reasons.append(f"{facts.device} lacks {', '.join(missing)}, which {profile.board} has")
    if profile.cpu and not any(name.lower() in facts.cpu_model.lower() for name in profile.cpu):
        reasons.append(f"the processor of {facts.device} is {facts.cpu_model!r}, not that of {profile.board}")
    return tuple(reasons)
