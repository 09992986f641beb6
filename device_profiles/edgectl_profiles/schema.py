"""Board profiles: what a kind of device is, and which runtimes it prefers at which precisions.

One YAML file a board in `boards/`. Strict: an unknown key or value is an error that names file and key.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgectl_protos.domain.artifact import Precision
from edgectl_protos.domain.errors import ProfileError

__all__ = ["PROOFS", "BoardProfile", "BoardRuntime", "parse_profile"]

PROOFS = ("hardware", "native", "emulated", "built", "planned")
"""How far a runtime has been proved on a board, best first."""


class BoardRuntime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A runtime on this board, with the precisions for which it has kernels there."""

    name: str
    precisions: tuple[Precision, ...]
    proof: str
    note: str = ""


class BoardProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of device. `runtimes` stand in order of preference; `cpu` is a part of the processor's name."""

    board: str
    title: str
    arch: str
    runtimes: tuple[BoardRuntime, ...]
    isa: tuple[str, ...] = ()
    cpu: tuple[str, ...] = ()
    memory_gb: float = 0.0
    note: str = ""


def parse_profile(path: Path) -> BoardProfile:
    """Read a board's file.

    Raises:
        ProfileError: with file and key.
    """
    import yaml

    try:
        profile = msgspec.convert(yaml.safe_load(path.read_text()), type=BoardProfile)
    except (yaml.YAMLError, msgspec.ValidationError) as exc:
        raise ProfileError(f"{path.name}: {' '.join(str(exc).split())}") from exc
    except OSError as exc:
        raise ProfileError(f"{path}: {exc.strerror}") from exc
    if profile.board != path.stem:
        raise ProfileError(f"{path.name}: board {profile.board!r} does not match the file's name")
    listed = [runtime.name for runtime in profile.runtimes]
    for runtime in profile.runtimes:
        if listed.count(runtime.name) > 1:
            raise ProfileError(f"{path.name}: runtimes lists {runtime.name} twice")
        if runtime.proof not in PROOFS:
            raise ProfileError(f"{path.name}: proof {runtime.proof!r} of {runtime.name} is none of {', '.join(PROOFS)}")
    return profile
