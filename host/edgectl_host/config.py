"""Where edgectl keeps its things, and how the terminal is to be treated: what the host reads of the environment.

`EDGECTL_HOME` puts everything under one directory; otherwise the XDG directories are used. Nothing is created
here: whoever writes makes its own directory.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgectl_converters.pythons import PythonSearch

__all__ = ["COMPLETION_VARIABLE", "MAX_SOCKET_PATH_BYTES", "HostConfig"]

MAX_SOCKET_PATH_BYTES = 103
"""What `sockaddr_un` holds everywhere: 108 bytes on Linux, 104 on macOS, the terminating NUL included."""

COMPLETION_VARIABLE = "_EDGECTL_COMPLETE"
"""Set by the completion script that click writes for a shell."""


@dataclass(frozen=True, slots=True)
class HostConfig:
    """One frozen configuration for the process."""

    cache_dir: Path
    data_dir: Path
    config_dir: Path
    short_runtime_dir: Path
    """For sockets when `data_dir` is too long for a socket address."""
    owner: str
    """Who deploys, as shown to whoever finds a device busy."""
    no_colour: bool = False
    force_colour: bool = False
    columns: int | None = None
    completion: str = ""
    home: Path = Path("/")
    path: tuple[Path, ...] = ()
    """The folders of PATH, in which Pythons for toolchains are looked for."""
    conda: tuple[Path, ...] = ()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], *, uid: int) -> HostConfig:
        """Read the environment once; empty variables count as unset, as XDG asks."""
        home = Path(environ.get("HOME") or Path.home())
        own = environ.get("EDGECTL_HOME")
        if own:
            root = Path(own).expanduser().absolute()
            cache, data, config = root / "cache", root / "data", root / "config"
        else:
            cache = _xdg(environ, "XDG_CACHE_HOME", home / ".cache")
            data = _xdg(environ, "XDG_DATA_HOME", home / ".local" / "share")
            config = _xdg(environ, "XDG_CONFIG_HOME", home / ".config")
        # One folder per data directory, so that two homes never share a local agent.
        tag = hashlib.sha256(str(data).encode()).hexdigest()[:8]
        runtime = environ.get("XDG_RUNTIME_DIR")
        short = Path(runtime) / f"edgectl-{tag}" if runtime else Path("/tmp") / f"edgectl-{uid}-{tag}"
        columns = environ.get("COLUMNS", "")
        return cls(
            cache_dir=cache,
            data_dir=data,
            config_dir=config,
            short_runtime_dir=short,
            owner=f"{environ.get('USER') or getpass.getuser()}@{socket.gethostname()}",
            no_colour=bool(environ.get("NO_COLOR")),
            force_colour=bool(environ.get("FORCE_COLOR")),
            columns=int(columns) if columns.isdecimal() and int(columns) > 0 else None,
            completion=environ.get(COMPLETION_VARIABLE, ""),
            home=home,
            path=tuple(Path(folder) for folder in environ.get("PATH", "").split(os.pathsep) if folder.startswith("/")),
            conda=tuple(Path(environ[name]) for name in ("CONDA_PREFIX", "MAMBA_ROOT_PREFIX") if environ.get(name)),
        )

    @property
    def python_search(self) -> PythonSearch:
        """Where Pythons for toolchains are looked for."""
        from edgectl_converters.pythons import PythonSearch

        return PythonSearch(self.home, self.path, self.conda)

    @property
    def local_agent_dir(self) -> Path:
        """State of the embedded agent."""
        return self.data_dir / "local-agent"

    @property
    def local_socket(self) -> Path:
        """Where the embedded agent listens; short enough for a socket address."""
        path = self.local_agent_dir / "agent.sock"
        if len(bytes(path)) <= MAX_SOCKET_PATH_BYTES:
            return path
        return self.short_runtime_dir / "agent.sock"

    @property
    def runs_database(self) -> str:
        """The address of the runs database, as SQLAlchemy writes it."""
        return f"sqlite:///{self.data_dir / 'runs.db'}"

    @property
    def samples_dir(self) -> Path:
        """Samples that were fetched from devices."""
        return self.data_dir / "samples"


def _xdg(environ: Mapping[str, str], name: str, default: Path) -> Path:
    """The XDG directory; a relative one is ignored, as the specification asks."""
    value = environ.get(name, "")
    base = Path(value) if value.startswith("/") else default
    return base / "edgectl"
