"""How far a bundle was proved where it was converted, for a board. Pure, but that it looks at this machine's kind.

What a device itself proved stands in its runs; this is what is known before any device was asked.
"""

from __future__ import annotations

import enum
import platform
import sys

from edgectl_converters.gates import SIMULATED
from edgectl_profiles.library import load
from edgectl_protos.domain.bundle import Manifest

__all__ = ["Proof", "proof_of"]

_SYSTEMS = {"linux": "linux", "darwin": "macos", "win32": "windows"}
_ARCHES = {"arm64": "aarch64", "AMD64": "x86_64"}


class Proof(enum.Enum):
    """`NATIVE` the artifact ran here, on this kind of processor · `EMULATED` here, in the vendor's simulator ·
    `BUILT` its gates passed here, on another kind of processor than the board's · `PENDING` the device's own gates
    decide.
    """

    NATIVE = "native"
    EMULATED = "emulated"
    BUILT = "built"
    PENDING = "pending"


def proof_of(manifest: Manifest, board: str) -> Proof:
    """The word for a bundle on a board."""
    if any(gate.pending for gate in manifest.gates):
        return Proof.PENDING
    if any(gate.note.endswith(SIMULATED) for gate in manifest.gates):
        return Proof.EMULATED
    profile = load(board)
    here = _ARCHES.get(platform.machine(), platform.machine()), _SYSTEMS.get(sys.platform, sys.platform)
    return Proof.NATIVE if (profile.arch, profile.os) == here else Proof.BUILT
