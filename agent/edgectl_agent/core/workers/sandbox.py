"""What a worker may do: which user it is, what it may read and write, how much of the machine it may take.

Everything it needs is named here, and `confine.py` takes the rest away before the worker's Python starts. What the
kernel, or the rights of the agent, do not allow is left out and said: `report` is part of the device's facts, and the
log of each worker begins with it.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgectl_agent.config import SandboxConfig
from edgectl_agent.core.store.layout import Layout
from edgectl_protos.domain.errors import WorkerError

if TYPE_CHECKING:
    from pwd import struct_passwd

__all__ = ["Sandbox"]

_LOG = logging.getLogger(__name__)

_CONFINE = Path(__file__).with_name("confine.py")
_USERS = ("edgectl-worker", "nobody")
_GROUPS = ("video", "render")
"""Those of the devices that accelerators are."""
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt", "/etc", "/proc", "/sys", "/nix")
_DEVICES = "/dev"
_SHARED_MEMORY = "/dev/shm"
_ACCELERATORS = ("/dev/nvidiactl", "/dev/nvmap", "/dev/nvhost-ctrl", "/dev/kfd", "/dev/dri", "/dev/accel")
_ASK_S = 20.0
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class _Policy:
    """As `confine.py` reads it. `needed` is what the other user must be able to reach."""

    dies_first: bool
    uid: int | None
    gid: int | None
    groups: list[int]
    needed: list[str]
    limits: dict[str, int]
    readable: list[str]
    devices: list[str]
    writable: list[str]
    environment: dict[str, str]


class Sandbox:
    """The sandbox of one agent's workers. `python` is the one that most of them run in."""

    def __init__(
        self, layout: Layout, config: SandboxConfig, *, machine_bytes: int, python: str = sys.executable
    ) -> None:
        self._layout = layout
        self._config = config
        self._python = python
        self._machine_bytes = machine_bytes
        self._user: struct_passwd | None = None
        self._lock = threading.Lock()
        self._is_open = False
        self._pythons: dict[str, list[str]] = {}
        self._report: tuple[str, ...] | None = None

    def open(self) -> None:
        """Before the first worker: let its user pass through to what it reads, and give builders their cache. Not at
        the start of the agent, since asking for a user costs half a megabyte that an idle one need not hold.
        """
        with self._lock:
            if self._is_open:
                return
            layout = self._layout
            self._user = _user(self._config.user) if os.geteuid() == 0 and self._config.active else None
            if self._user is not None:
                for folder in (layout.root, layout.releases, layout.derived, layout.scratch, layout.builders):
                    folder.chmod(0o711)
            if not layout.builders_cache.is_dir():
                self.make(layout.builders_cache)
            self._is_open = True

    def report(self) -> tuple[str, ...]:
        """What is taken away from workers on this device, and what cannot be; asked once."""
        if not self._config.active:
            return ("off, as the agent was told: --no-sandbox",)
        if self._report is None:
            try:
                self.open()
                command = self._confined(self._policy(self._python, None))
                done = subprocess.run(command, capture_output=True, timeout=_ASK_S, check=True)
                self._report = tuple(str(said) for said in json.loads(done.stdout))
            except (OSError, ValueError, subprocess.SubprocessError) as exc:
                _LOG.error("the sandbox of workers cannot be told: %s", exc)
                return (f"not known: {exc}",)
        return self._report

    def command(
        self,
        python: str,
        arguments: Iterable[str],
        scratch: Path | None,
        *,
        others: Iterable[str] = (),
        builds: bool = False,
    ) -> list[str]:
        """The command that runs this Python confined. `scratch` is where it may write, `others` the Pythons that it
        starts itself. One that `builds` has the builders' cache, and is the first that the kernel ends for memory.

        Raises:
            WorkerError: there is no such Python.
        """
        for one in (python, *others):
            if not os.access(one, os.X_OK) or os.path.isdir(one):
                raise WorkerError(
                    f"no worker could be started with {one}: there is no such program",
                    hint="which Python holds the runtime? edgectl-agent run --interpreter RUNTIME=PYTHON",
                )
        arguments = list(arguments)
        if not self._config.active:
            return [python, *arguments]
        policy = self._policy(
            python,
            scratch,
            pythons=(python, *others),
            readable=[argument for argument in arguments if os.path.exists(argument)],
            builds=builds,
        )
        return [*self._confined(policy), python, *arguments]

    def make(self, folder: Path) -> Path:
        """An empty folder of the worker's own."""
        folder.mkdir(mode=0o700)
        if self._user is not None:
            # The group stays the agent's: a worker that cannot be another user has no right but an ordinary one.
            os.chown(folder, self._user.pw_uid, os.getegid())
            folder.chmod(0o770)
        return folder

    def take_back(self, path: Path) -> None:
        """Make what a worker wrote, a file or a folder, the agent's own."""
        if self._user is not None:
            for one in (path, *path.rglob("*")):
                os.chown(one, os.geteuid(), os.getegid(), follow_symlinks=False)

    def _confined(self, policy: _Policy) -> tuple[str, ...]:
        return (sys.executable, "-I", "-S", str(_CONFINE), json.dumps(asdict(policy)), "--")

    def _policy(
        self,
        python: str,
        scratch: Path | None,
        *,
        pythons: tuple[str, ...] = (),
        readable: Iterable[str] = (),
        builds: bool = False,
    ) -> _Policy:
        layout, user = self._layout, self._user
        installed = [path for one in pythons or (python,) for path in self._paths_of(one)]
        own = str(scratch or _SHARED_MEMORY)
        return _Policy(
            dies_first=builds,
            uid=user.pw_uid if user else None,
            gid=user.pw_gid if user else None,
            groups=_groups() if user else [],
            needed=[os.path.realpath(python), *installed, str(layout.releases)],
            limits=self._limits(),
            readable=[*_SYSTEM, *installed, *readable, str(layout.releases), str(layout.derived)],
            devices=[_DEVICES],
            writable=[_SHARED_MEMORY, own, *([str(layout.builders_cache)] if builds else [])],
            environment={"TMPDIR": own, "HOME": own},
        )

    def _paths_of(self, python: str) -> list[str]:
        """Where a Python and what is installed in it lie; asked of each until it has said so."""
        # It may be a link, or a script that starts another one.
        itself = [os.path.realpath(python), os.path.abspath(python)]
        said = self._pythons.get(python)
        if said is None:
            code = "import sys, json; print(json.dumps([sys.prefix, sys.base_prefix, *sys.path]))"
            try:
                done = subprocess.run([python, "-c", code], capture_output=True, timeout=_ASK_S, check=True, cwd="/")
                said = self._pythons[python] = [str(path) for path in json.loads(done.stdout)]
            except (OSError, ValueError, subprocess.SubprocessError) as exc:
                _LOG.error("where %s lies cannot be told: %s", python, exc)
                said = []
        return sorted({path for path in (*said, *itself) if os.path.exists(path) and path != "/"})

    def _limits(self) -> dict[str, int]:
        memory = self._config.memory_bytes or self._machine_bytes * 9 // 10
        limits = {"CORE": 0, "FSIZE": self._config.file_bytes, "NPROC": self._config.processes}
        if memory:
            limits["DATA"] = memory
            # Accelerators reserve far more addresses than there is memory.
            if not any(os.path.exists(path) for path in _ACCELERATORS):
                limits["AS"] = max(4 * _GIB, 2 * memory)
        return limits


def _user(name: str) -> struct_passwd | None:
    import pwd

    for one in (name,) if name else _USERS:
        try:
            return pwd.getpwnam(one)
        except KeyError:
            continue
    _LOG.error("there is no user %s for workers", name or " or ".join(_USERS))
    return None


def _groups() -> list[int]:
    import grp

    found = []
    for name in _GROUPS:
        try:
            found.append(grp.getgrnam(name).gr_gid)
        except KeyError:
            continue
    return found
