"""Board profiles: what a kind of device is, and which runtimes it prefers in which schemes.

One YAML file a board in `boards/`. Strict: an unknown key or value is an error that names file and key.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgectl_protos.domain.artifact import check_scheme
from edgectl_protos.domain.errors import ProfileError, RouteError

__all__ = ["BoardProfile", "BoardRuntime", "parse_profile"]


class BoardRuntime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A runtime on this board, with the schemes for which it has kernels there. How far it was proved there is not
    typed by hand: that comes from recorded runs. `options` are this runtime's choices here, such as its provider.
    """

    name: str
    schemes: tuple[str, ...]
    note: str = ""
    options: dict[str, str] = {}


class BoardProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of device. `runtimes` stand in order of preference; `cpu` is a part of the processor's name, `options` are
    facts that a build may have to know, such as the number of its SoC.
    """

    board: str
    title: str
    arch: str
    runtimes: tuple[BoardRuntime, ...]
    isa: tuple[str, ...] = ()
    cpu: tuple[str, ...] = ()
    memory_gb: float = 0.0
    note: str = ""
    options: dict[str, str] = {}

    def facts(self) -> dict[str, str]:
        """What a target may be told about the board."""
        return self.options | {"board": self.board}

    def runtime(self, name: str) -> BoardRuntime | None:
        """The runtime of this name, if the board lists it."""
        return next((runtime for runtime in self.runtimes if runtime.name == name), None)


def parse_profile(path: Path) -> BoardProfile:
    """Read a board's file.

    Raises:
        ProfileError: with file and key.
    """
    import yaml

    try:
        profile = msgspec.convert(yaml.safe_load(path.read_text()), type=BoardProfile)
    except (yaml.YAMLError, msgspec.ValidationError, ValueError, RecursionError) as exc:
        raise ProfileError(f"{path.name}: {' '.join(str(exc).split())}") from exc
    except OSError as exc:
        raise ProfileError(f"{path}: {exc.strerror}") from exc
    if profile.board != path.stem:
        raise ProfileError(f"{path.name}: board {profile.board!r} does not match the file's name")
    listed = [runtime.name for runtime in profile.runtimes]
    for runtime in profile.runtimes:
        if listed.count(runtime.name) > 1:
            raise ProfileError(f"{path.name}: runtimes lists {runtime.name} twice")
        for scheme in runtime.schemes:
            try:
                check_scheme(scheme)
            except RouteError as exc:
                raise ProfileError(f"{path.name}: {runtime.name}: {exc.message}") from exc
    return profile
