"""What is done on a device, one method a step, each of which may be repeated: what is done already costs nothing.

Order: hold (which wheels are there) → send (those that are not) → install (environments of them) → activate (the link
`current`) → start. `update` and `remove` are the ways on and back. The scripts lie in `device/`.
"""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from importlib.resources import files
from pathlib import Path, PurePosixPath

from edgectl_host.fleet.registry import Home
from edgectl_host.provision.plan import Plan
from edgectl_host.provision.survey import script
from edgectl_host.provision.wheels import INSTALLER, Wheel
from edgectl_host.transport.ssh import Ssh
from edgectl_protos.domain.errors import InstallError

__all__ = ["Steps"]

_PIECE_BYTES = 1 << 20
_BLOCK_BYTES = 512
_VENV_TIMEOUT_S = 1800.0
"""An emulated or very small board compiles a few thousand files."""
_HOMES = (("home",), ("root",))
"""What systemd's ProtectHome hides."""


class Steps:
    """The steps on one device, over one login."""

    def __init__(self, ssh: Ssh, home: Home) -> None:
        self._ssh = ssh
        self._home = home

    async def hold(self, wheels: Iterable[Wheel]) -> tuple[Wheel, ...]:
        """Those of the wheels that are not there, or not whole.

        Raises:
            UnreachableError: no connection.
            InstallError: the folder cannot be made.
        """
        said = await self._ssh.run(script("hold", prefix=self._home.prefix))
        there = {tuple(line.split(None, 1)) for line in said.splitlines() if len(line.split(None, 1)) == 2}
        return tuple(wheel for wheel in wheels if (wheel.digest, wheel.name) not in there)

    async def send(
        self, wheels: Sequence[Wheel], path_of: Callable[[Wheel], Path], sent: Callable[[int, int], None]
    ) -> None:
        """Send wheels as one tar; `sent` hears bytes so far and all of them.

        Raises:
            UnreachableError: no connection, or it was cut; what arrived whole is not sent again.
            InstallError: the disk is full, or what arrived is something else.
        """
        if not wheels:
            return
        total = sum(wheel.size_bytes for wheel in wheels)
        pieces = _tar(wheels, path_of, lambda so_far: sent(so_far, total))
        await self._ssh.send(script("receive", prefix=self._home.prefix), pieces)
        if missing := await self.hold(wheels):
            raise InstallError(
                f"{self._ssh.destination}: {', '.join(wheel.name for wheel in missing)} arrived damaged",
                hint="run the same command again: it sends only these",
            )

    async def install(self, plan: Plan, begins: Callable[[str], None]) -> None:
        """Make the environments of a plan.

        Raises:
            UnreachableError: no connection, or it was cut; what is complete is not made again.
            InstallError: an environment cannot be made.
        """
        installer = next(wheel.name for wheel in plan.wheels if wheel.project == INSTALLER)
        wheels = [wheel for wheel in (*plan.own, *plan.wheels) if wheel.project != INSTALLER]
        begins(f"installing {len(wheels)} wheels for {plan.python}")
        await self._venv(f"{plan.folder}/agent", plan.python.path, "", installer, wheels)
        for seat in plan.seats:
            begins(f"a place for {seat.runtime} over {seat.python}")
            over = [*plan.own, *plan.seat_wheels[seat.runtime]]
            await self._venv(
                f"{plan.folder}/seat-{seat.runtime}", seat.python.path, "--system-site-packages", installer, over
            )

    async def activate(self, plan: Plan, *, switch: bool) -> None:
        """Write what starts this installation; with `switch`, let it be the current one.

        Raises:
            UnreachableError: no connection.
            InstallError: the disk refuses.
        """
        await self._ssh.run(
            script(
                "activate",
                prefix=self._home.prefix,
                version=plan.version,
                run=plan.run_script,
                interpreters=plan.interpreters,
                switch="yes" if switch else "no",
            )
        )

    async def start(self, python: str) -> tuple[str, ...]:
        """Start the current installation, made with this Python, now and, where there is systemd, at boot; what a
        person should know.

        Raises:
            UnreachableError: no connection.
            InstallError: it does not start, or does not answer; with its last words.
        """
        said = await self._ssh.run(self._with_functions("start", definition=self._definition(python)), timeout_s=180)
        return tuple(line[6:] for line in said.splitlines() if line.startswith("note: "))

    async def update(self, version: str, timeout_s: float) -> str:
        """Go to an installation that is there; empty when it answers, else why the old one was put back.

        Raises:
            UnreachableError: the connection was cut; the device goes on by itself.
            InstallError: neither answers.
        """
        detached = self._with_functions("switch", version=version, timeout=f"{timeout_s:.0f}")
        said = await self._ssh.run(
            script("detach", prefix=self._home.prefix, job=detached), timeout_s=4 * timeout_s + 120
        )
        outcome, _, why = said.strip().partition(" ")
        if outcome == "new":
            return ""
        if outcome == "back":
            return why or "it said nothing"
        raise InstallError(f"{self._ssh.destination}: {why or said}", hint=f"look there: {self._ssh.shown}")

    async def agent(self, arguments: Sequence[str], data: bytes = b"") -> str:
        """Run a command of the installed agent; what it printed.

        Raises:
            UnreachableError: no connection.
            InstallError: the command failed; with its own message and hint.
        """
        words = [f"{self._home.prefix}/current/agent/bin/python", "-m", "edgectl_agent", *arguments]
        command = self._with_functions("as_agent", words="\n".join(words))
        return await self._ssh.run(command, data=data)

    async def remove(self) -> None:
        """Take everything away.

        Raises:
            UnreachableError: no connection.
            InstallError: something is still there.
        """
        await self._ssh.run(self._with_functions("remove"), timeout_s=180)

    async def _venv(self, folder: str, python: str, options: str, installer: str, wheels: Sequence[Wheel]) -> None:
        names = " ".join(wheel.name for wheel in wheels)
        given = {"prefix": self._home.prefix, "folder": folder, "python": python, "options": options}
        await self._ssh.run(script("venv", installer=installer, wheels=names, **given), timeout_s=_VENV_TIMEOUT_S)

    def _with_functions(self, name: str, **given: str) -> str:
        home = self._home
        place = {"service": home.service, "prefix": home.prefix, "state": home.state_dir, "socket": home.socket}
        return script("functions", **place) + script(name, **given)

    def _definition(self, python: str) -> str:
        file = {"system": "system.service", "user": "user.service", "none": "start"}[self._home.service]
        # A Python of a user's own must stay readable.
        hidden = "read-only" if PurePosixPath(python).parts[1:2] in _HOMES else "yes"
        return unit(file, prefix=self._home.prefix, socket_dir=self._home.socket.rpartition("/")[0], hidden=hidden)


def unit(file: str, **given: str) -> str:
    """What starts an agent, with its places filled in."""
    text = files("edgectl_host.provision").joinpath("units", file).read_text()
    for key, value in given.items():
        text = text.replace(f"@{key.upper()}@", value)
    return text


async def _tar(
    wheels: Sequence[Wheel], path_of: Callable[[Wheel], Path], sent: Callable[[int], None]
) -> AsyncIterator[bytes]:
    so_far = 0
    for wheel in wheels:
        member = tarfile.TarInfo(wheel.name)
        member.size, member.mode = wheel.size_bytes, 0o644
        yield member.tobuf(tarfile.GNU_FORMAT)
        with path_of(wheel).open("rb") as file:
            while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
                yield piece
                so_far += len(piece)
                sent(so_far)
        yield bytes(-wheel.size_bytes % _BLOCK_BYTES)
    yield bytes(2 * _BLOCK_BYTES)
