"""Board profiles: what a kind of device is, what it can reach, and which runtimes it prefers in which schemes.

One YAML file a board in `boards/`. Strict: an unknown key or value is an error that names file and key, and a figure
without a source, or a source of no figure, is one too.

A figure is what the maker says (`sources` names the document, or how it follows from one), never a measurement: what a
device of this kind cannot exceed. One that no document gives is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from edgectl_protos.domain.artifact import check_scheme
from edgectl_protos.domain.errors import ProfileError, RouteError

__all__ = ["BoardOptions", "BoardProfile", "BoardRuntime", "Unit", "parse_profile"]

Unit = Literal["cpu", "gpu", "npu"]
_ODD_SCALARS = (ValueError, AttributeError, IndexError, TypeError)
"""What PyYAML raises of dates and numbers that are none, besides its own errors."""


class BoardRuntime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A runtime on this board, with the schemes for which it has kernels there. How far it was proved there is not
    typed by hand: that comes from recorded runs.

    `unit` is what computes, `glibc` the oldest C library with which its wheels load. `options` are its own choices on
    this board (a provider, a device), which win over the board's facts of that name.
    """

    name: str
    schemes: tuple[str, ...]
    unit: Unit = "cpu"
    glibc: str = ""
    options: dict[str, str] = {}
    note: str = ""


class BoardOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Facts that an artifact is built for, as the tools that build it write them.

    `soc`: a chip by its maker's part number, `soc_id` by the number that its compiler knows; `htp_arch`: version of a
    Hexagon tensor processor; `sm`: compute capability of an NVIDIA GPU; `npu`: architecture of an Intel NPU;
    `deployment_target`: the oldest system it must load on.
    """

    soc: str = ""
    soc_id: str = ""
    htp_arch: str = ""
    sm: str = ""
    npu: str = ""
    deployment_target: str = ""


class BoardProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of device.

    `runtimes` stand in order of preference; `aliases` are other names of it. `detected` false: a device is this board
    only where somebody says so, since its facts do not show it. `isa` are extensions that its processor
    has, `cpu` parts of the processor's name, one of which it carries. `glibc` is that of the maker's own system.

    Figures, 0 or absent where unknown: `memory_gb` in units of 10⁹ bytes, `memory_gb_per_s` the bandwidth of the
    memory, `peaks` 10¹² dense operations a second by unit and precision (a multiplication with its addition is two).
    `sources` has the origin of each by its name: `memory_gb`, `memory_gb_per_s`, `peaks.gpu`.
    """

    board: str
    title: str
    arch: str
    runtimes: tuple[BoardRuntime, ...]
    aliases: tuple[str, ...] = ()
    detected: bool = True
    os: Literal["linux", "android", "ios", "macos", "windows"] = "linux"
    glibc: str = ""
    isa: tuple[str, ...] = ()
    cpu: tuple[str, ...] = ()
    options: BoardOptions = BoardOptions()
    memory_gb: float = 0.0
    memory_gb_per_s: float = 0.0
    peaks: dict[Unit, dict[str, float]] = {}
    sources: dict[str, str] = {}
    note: str = ""

    def runtime(self, name: str) -> BoardRuntime | None:
        """The runtime of this name, if the board lists it."""
        return next((runtime for runtime in self.runtimes if runtime.name == name), None)

    def facts(self) -> dict[str, str]:
        """What an artifact may be built for: the options that are set, with `board` and `os`."""
        options = {name: value for name in BoardOptions.__struct_fields__ if (value := getattr(self.options, name))}
        return {**options, "board": self.board, "os": self.os}


def parse_profile(path: Path) -> BoardProfile:
    """Read a board's file.

    Raises:
        ProfileError: with file and key.
    """
    import yaml

    try:
        profile = msgspec.convert(yaml.safe_load(path.read_text()), type=BoardProfile)
    except (yaml.YAMLError, msgspec.ValidationError, RecursionError, *_ODD_SCALARS) as exc:
        raise ProfileError(f"{path.name}: {' '.join(str(exc).split())}") from exc
    except OSError as exc:
        raise ProfileError(f"{path}: {exc.strerror}") from exc
    for problem in _problems(profile, path.stem):
        raise ProfileError(f"{path.name}: {problem}")
    return profile


def _problems(profile: BoardProfile, stem: str) -> Iterator[str]:
    if profile.board != stem:
        yield f"board {profile.board!r} does not match the file's name"
    listed = [runtime.name for runtime in profile.runtimes]
    for runtime in profile.runtimes:
        if listed.count(runtime.name) > 1:
            yield f"runtimes lists {runtime.name} twice"
        for scheme in runtime.schemes:
            try:
                check_scheme(scheme)
            except RouteError as exc:
                yield f"{runtime.name}: {exc.message}"
    figures = {name for name in ("memory_gb", "memory_gb_per_s") if getattr(profile, name)}
    figures |= {f"peaks.{unit}" for unit in profile.peaks}
    for name in sorted(figures - set(profile.sources)):
        yield f"{name} has no source"
    for name in sorted(set(profile.sources) - figures):
        yield f"sources names {name}, which is no figure here"
    values = (
        profile.memory_gb,
        profile.memory_gb_per_s,
        *(v for unit in profile.peaks.values() for v in unit.values()),
    )
    if any(value < 0 for value in values):
        yield "a figure is negative"
