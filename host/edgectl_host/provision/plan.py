"""What is put where on a device, as data: chosen from its survey, shown by --dry-run, then carried out. Pure.

The agent gets an interpreter of at least 3.10 in an environment of its own. A runtime whose library the device brings
itself (with its maker's system) gets an environment over the very Python that has it.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgectl_host.fleet.registry import Home
from edgectl_host.provision.survey import Python, Survey
from edgectl_host.provision.wheels import Target, Wheel
from edgectl_protos.domain.errors import InstallError, UsageError

__all__ = [
    "OLDEST_PYTHON",
    "SYSTEM",
    "USER_PREFIX",
    "Offer",
    "Place",
    "Plan",
    "Seat",
    "addresses_of",
    "choose_place",
    "choose_python",
    "offers",
    "own_libraries",
    "target_of",
]

OLDEST_PYTHON = (3, 10)
_FAVOURED = ("3.12", "3.11", "3.13", "3.10")
"""With wheels of every runtime, best first; the system's own Python goes before them."""

_SHARED = frozenset({"numpy", "tokenizers"})
"""What a loop uses beside a runtime."""

NEEDED_FREE_BYTES = 400 << 20
"""The agent with one runtime takes 250 MB; wheels stay for the next update."""

SYSTEM = Home("", (), "/opt/edgectl", "/var/lib/edgectl", "/run/edgectl/agent.sock", "system")
USER_PREFIX = "$HOME/.edgectl"
"""One folder in the home, so that nothing is left beside it when it goes."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A runtime that may be installed: from wheels, or because a Python there has its library already."""

    runtime: str
    own: bool


@dataclass(frozen=True, slots=True)
class Seat:
    """A runtime in an interpreter other than the agent's."""

    runtime: str
    python: Python


@dataclass(frozen=True, slots=True)
class Place:
    """Where edgectl is put, and what starts it."""

    home: Home
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is going to be on the device. `refused` are runtimes that are not, each with the reason."""

    name: str
    board: str
    home: Home
    why: str
    python: Python
    target: Target
    runtimes: tuple[str, ...]
    seats: tuple[Seat, ...]
    extras: tuple[str, ...]
    own: tuple[Wheel, ...]
    wheels: tuple[Wheel, ...]
    seat_wheels: Mapping[str, tuple[Wheel, ...]]
    addresses: tuple[str, ...]
    port: int
    refused: Mapping[str, str]

    @property
    def version(self) -> str:
        """The name of this installation: other wheels, another Python, another name of the folder."""
        parts = [
            str(self.python),
            *(wheel.digest for wheel in (*self.own, *self.wheels)),
            *(f"{seat.runtime} {seat.python}" for seat in self.seats),
            *(wheel.digest for wheels in self.seat_wheels.values() for wheel in wheels),
            self.run_script,
        ]
        agent = self.own[0].name.split("-")[1]
        return f"{agent}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}"

    @property
    def all_wheels(self) -> tuple[Wheel, ...]:
        """Each wheel once."""
        seated = (wheel for wheels in self.seat_wheels.values() for wheel in wheels)
        return tuple({wheel.name: wheel for wheel in (*self.own, *self.wheels, *seated)}.values())

    @property
    def folder(self) -> str:
        """Where this installation lies."""
        return f"{self.home.prefix}/versions/{self.version}"

    @property
    def run_script(self) -> str:
        """What starts the agent. It belongs to the version, so that going back to one takes its arguments too."""
        current = f"{self.home.prefix}/current"
        words = [f"{current}/agent/bin/python", "-m", "edgectl_agent", "run"]
        words += ["--state-dir", self.home.state_dir, "--listen", f"unix:{self.home.socket}"]
        words += ["--listen", f"tls:0.0.0.0:{self.port}", "--device", self.name, "--board", self.board]
        words += ["--interpreters-file", f"{current}/interpreters.json"]
        begins = "#!/bin/sh\n# Nothing is written beside the system's own files.\nexport PYTHONDONTWRITEBYTECODE=1\n"
        return f"{begins}exec {shlex.join(words)}\n"

    @property
    def interpreters(self) -> str:
        """Which Python holds which runtime, as the agent reads it."""
        current = f"{self.home.prefix}/current"
        named = {seat.runtime: f"{current}/seat-{seat.runtime}/bin/python" for seat in self.seats}
        return json.dumps({"interpreters": named}, indent=1, sort_keys=True) + "\n"


def choose_python(survey: Survey, wanted: str = "") -> Python:
    """The interpreter of the agent.

    Raises:
        InstallError: there is none of at least 3.10 with venv.
        UsageError: the one asked for is not such a one.
    """
    fit = [python for python in survey.pythons if python.version[:2] >= OLDEST_PYTHON and python.venv]
    if wanted:
        chosen = next((python for python in survey.pythons if python.path == wanted), None)
        if chosen is None or chosen not in fit:
            found = str(chosen) if chosen else "not a Python there"
            raise UsageError(f"--python {wanted} is {found}; the agent needs 3.10 or newer, with venv")
        return chosen
    if not fit:
        seen = ", ".join(map(str, survey.pythons)) or "none"
        raise InstallError(
            f"{survey.host} has no Python of at least 3.10 with venv; it has: {seen}",
            hint=_install_python(survey),
        )
    order = [python for python in fit if python.path == "/usr/bin/python3" and python.minor in _FAVOURED]
    order += [python for minor in _FAVOURED for python in fit if python.minor == minor]
    return next(iter(order), fit[0])


def _install_python(survey: Survey) -> str:
    if "debian" in survey.os.lower() or "ubuntu" in survey.os.lower():
        return f"on {survey.host}: sudo apt-get install python3.10-minimal libpython3.10-stdlib, or a newer one"
    return f"on {survey.host}: install Python 3.10 or newer, then name it: --python PATH"


def target_of(survey: Survey, python: Python) -> Target:
    """What wheels must load on.

    Raises:
        InstallError: no wheels exist for such a machine.
    """
    if survey.system != "Linux":
        raise InstallError(
            f"{survey.host} runs {survey.system}; over ssh edgectl installs on Linux only",
            hint="install it there by hand: packaging/README.md",
        )
    if survey.arch not in ("x86_64", "aarch64"):
        raise InstallError(f"{survey.host} is {survey.arch}; there are wheels for x86_64 and aarch64")
    if survey.libc is None:
        raise InstallError(f"{survey.host} does not tell its C library; wheels cannot be chosen")
    if missing := [tool for tool in ("tar", "sha256sum", "setsid", "nohup") if tool not in survey.tools]:
        raise InstallError(
            f"{survey.host} has no {' and no '.join(missing)}", hint="install coreutils, util-linux and tar there"
        )
    return Target(survey.arch, survey.libc, python.minor)


def choose_place(survey: Survey, destination: str, options: Sequence[str], *, service: bool) -> Place:
    """Where edgectl is put: for the whole machine where its service is to be had, else in the user's home.

    Raises:
        InstallError: there is no room.
    """
    root = survey.root in ("self", "sudo")
    if service and root and "system" in survey.systemd:
        kind, why = "system", "a service of the machine"
    elif service and "user" in survey.systemd:
        kind, why = "user", "a service of this user: root is not to be had without a password"
    else:
        lacks = "no systemd of the machine or of this user may start it" if service else "as asked"
        kind, why = "none", f"started once, and not at boot: {lacks}"
    if kind == "system" or survey.uid == 0:
        home = Home(
            destination,
            tuple(options),
            SYSTEM.prefix,
            SYSTEM.state_dir,
            SYSTEM.socket,
            kind,
            sudo=survey.root == "sudo",
        )
        place = "/opt"
    else:
        prefix = USER_PREFIX.replace("$HOME", survey.home)
        home = Home(destination, tuple(options), prefix, f"{prefix}/state", f"{prefix}/agent.sock", kind)
        place = survey.home
    free = survey.free_bytes.get(place, NEEDED_FREE_BYTES)
    if free < NEEDED_FREE_BYTES:
        raise InstallError(
            f"{survey.host} has {free >> 20} MiB free in {place}; an agent with a runtime takes "
            f"{NEEDED_FREE_BYTES >> 20}",
            hint=f"make room there: du -xh {place} | sort -h | tail",
        )
    return Place(home, why)


def offers(preferred: Sequence[str], extras: Mapping[str, tuple[str, ...]], survey: Survey) -> tuple[Offer, ...]:
    """The runtimes that come into question, in the board's order. A runtime whose extra brings no library is one that
    the device brings, or it is not there.
    """
    found = []
    own = own_libraries(extras, preferred)
    for runtime in preferred:
        if runtime not in own and runtime in extras:
            found.append(Offer(runtime, own=False))
        elif any(runtime in python.modules for python in survey.pythons):
            found.append(Offer(runtime, own=True))
    return tuple(found)


def own_libraries(extras: Mapping[str, tuple[str, ...]], runtimes: Iterable[str]) -> tuple[str, ...]:
    """Those of the runtimes whose library a device brings itself; its Pythons are asked for it by that name."""
    return tuple(name for name in runtimes if name in extras and not set(extras[name]) - _SHARED)


def addresses_of(host_name: str, survey: Survey, port: int, named: str = "") -> tuple[str, ...]:
    """Where the agent is dialled, in turn: as asked for, as ssh finds it, as it calls itself."""
    if named:
        return (named if named.startswith("tls:") else f"tls:{_bracketed(named)}:{port}",)
    own = [address for address in survey.addresses if not address.startswith(("127.", "169.254.", "fe80:", "172.17."))]
    return tuple(dict.fromkeys(f"tls:{_bracketed(host)}:{port}" for host in [host_name or survey.host, *own[:3]]))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
