"""Interpreters of a wanted version, where people and version managers keep them.

PATH, pyenv, uv, asdf, mise, conda and its environments, Homebrew, /usr. Each is seen to run and to be that version: a
version manager's shim stands on PATH for what it lacks too. Where to look are parameters: nothing here reads the
environment.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PythonSearch"]

_TIMEOUT_S = 20.0
_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


@dataclass(frozen=True, slots=True)
class PythonSearch:
    """Where to look. `path` are the folders of PATH, `conda` the prefixes of conda, `system` further folders."""

    home: Path
    path: tuple[Path, ...] = ()
    conda: tuple[Path, ...] = ()
    system: tuple[Path, ...] = (
        Path("/usr/bin"),
        Path("/usr/local/bin"),
        Path("/opt/homebrew/bin"),
        Path("/home/linuxbrew/.linuxbrew/bin"),
    )
    own: bool = True
    """Whether the interpreter of this process counts."""

    def find(self, version: str) -> Path | None:
        """An interpreter of this version, such as `3.12`; the first that runs."""
        seen: set[Path] = set()
        for candidate in self._candidates(version):
            if candidate in seen or not candidate.is_file():
                continue
            seen.add(candidate)
            if _version_of(candidate) == version:
                return candidate
        return None

    def places(self) -> tuple[str, ...]:
        """Where it looks, for people."""
        return ("PATH", "pyenv", "uv", "asdf", "mise", "conda", *map(str, self.system))

    def _candidates(self, version: str) -> Iterator[Path]:
        if self.own and version == "{}.{}".format(*sys.version_info):
            # A virtual environment made from another one would break with it.
            yield Path(str(getattr(sys, "_base_executable", None) or sys.executable))
        name = f"python{version}"
        yield from (folder / name for folder in self.path)
        home = self.home
        for root, pattern in (
            (home / ".pyenv/versions", f"{version}*/bin/{name}"),
            (home / ".local/share/uv/python", f"cpython-{version}*/bin/{name}"),
            (home / ".asdf/installs/python", f"{version}*/bin/{name}"),
            (home / ".local/share/mise/installs/python", f"{version}*/bin/{name}"),
            *((prefix, f"bin/{name}") for prefix in self._conda()),
            *((prefix / "envs", f"*/bin/{name}") for prefix in self._conda()),
        ):
            yield from sorted(root.glob(pattern), key=_by_version, reverse=True)
        yield from (folder / name for folder in self.system)

    def _conda(self) -> tuple[Path, ...]:
        names = ("miniconda3", "miniforge3", "mambaforge", "anaconda3", "micromamba")
        return (*self.conda, *(self.home / name for name in names))


def _by_version(path: Path) -> tuple[int, ...]:
    """3.11.10 is newer than 3.11.9."""
    return tuple(int(part) for part in path.parts[-3].replace("-", ".").split(".") if part.isdecimal())


@functools.cache
def _version_of(python: Path) -> str:
    try:
        done = subprocess.run(
            [str(python), "-c", _VERSION], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
