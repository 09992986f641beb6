"""The user's own OpenSSH, as it is configured: their keys, agent, jump hosts and known hosts.

One login serves all commands of an object: the first opens a master connection, the others share it, and `close` ends
it. Nothing of ours is on a command line but a script that holds no secret; what a script reads comes on its standard
input. A connection that fails is an `UnreachableError` with the command that shows it without edgectl; a script that
fails is an `InstallError` with what it said last.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import shlex
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from edgectl_host.transport.private import private_dir
from edgectl_protos.domain.errors import DeviceError, InstallError, UnreachableError

__all__ = ["Ssh", "host_name_of"]

_CONNECTION_FAILED = 255
"""OpenSSH's own exit status; the remote command's may be the same, which no script of ours uses."""

_TAIL_LINES = 12
_MAX_OUTPUT_BYTES = 4 << 20
_PIECE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Ssh:
    """One login. `options` are passed to ssh as they are (`-F FILE`, `-p 2222`, `-J jump`).

    `control_dir` is private to this user and short, for the socket that the commands share.
    """

    destination: str
    options: tuple[str, ...]
    control_dir: Path
    sudo: bool = False
    program: str = "ssh"
    connect_timeout_s: int = 15

    @property
    def shown(self) -> str:
        """The command with which a person reaches the same place."""
        return shlex.join([self.program, *self.options, self.destination])

    async def run(self, script: str, *, data: bytes | None = None, timeout_s: float = 600.0) -> str:
        """Run a POSIX shell script there; what it printed. With `data` it is the script's standard input.

        Raises:
            UnreachableError: no connection, or it ended.
            InstallError: the script failed.
        """
        if data is None:
            return await self._exec(self._shell("-s"), script.encode(), timeout_s)
        return await self._exec(self._shell("-c", script), data, timeout_s)

    async def send(self, script: str, pieces: AsyncIterator[bytes], *, timeout_s: float = 3600.0) -> str:
        """The same, for a standard input of any size.

        Raises:
            UnreachableError: no connection, or it ended.
            InstallError: the script failed.
        """
        return await self._exec(self._shell("-c", script), pieces, timeout_s)

    async def host_name(self) -> str:
        """The name or number under which ssh itself looks for the device, as its configuration has it.

        Raises:
            UnreachableError: ssh does not take the destination.
        """
        process = await self._start(["-G"], [])
        out, err = await process.communicate()
        if process.returncode != 0:
            raise self._unreachable(err.decode(errors="replace"))
        return host_name_of(out.decode(errors="replace"))

    async def close(self) -> None:
        """End the shared connection; without one it is fine."""
        process = await self._start(["-O", "exit"], [])
        await process.communicate()

    def _shell(self, *arguments: str) -> str:
        # The login shell may be any: it sees one simple command.
        words = ["sudo", "-n", "sh", *arguments] if self.sudo else ["sh", *arguments]
        return shlex.join(words)

    async def _start(self, before: list[str], command: list[str]) -> asyncio.subprocess.Process:
        private_dir(self.control_dir)
        # Not OpenSSH's own %C: one that is too long for a socket is refused only after the login.
        tag = hashlib.sha256("\0".join((*self.options, self.destination)).encode()).hexdigest()[:12]
        shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={self.control_dir / tag}", "-o", "ControlPersist=60"]
        patience = ["-o", f"ConnectTimeout={self.connect_timeout_s}", "-o", "ServerAliveInterval=10", "-T"]
        words = [self.program, *self.options, *shared, *patience, *before, "--", self.destination, *command]
        try:
            return await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_MAX_OUTPUT_BYTES,
            )
        except FileNotFoundError as exc:
            raise DeviceError(
                f"there is no {self.program} on this machine", hint="install OpenSSH's client: openssh-client"
            ) from exc

    async def _exec(self, command: str, data: bytes | AsyncIterator[bytes], timeout_s: float) -> str:
        process = await self._start([], [command])
        feeder = asyncio.create_task(_feed(process, data))
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await asyncio.gather(_drain(process.stdout), _drain(process.stderr))
                code = await process.wait()
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    await feeder
        except TimeoutError as exc:
            raise UnreachableError(
                f"{self.destination} did not finish within {timeout_s:.0f} s", hint=f"look there: {self.shown}"
            ) from exc
        finally:
            feeder.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code == _CONNECTION_FAILED:
            raise self._unreachable(err)
        if code != 0:
            raise self._failed(code, out, err)
        return out

    def _unreachable(self, said: str) -> UnreachableError:
        last = _last_line(said)
        return UnreachableError(f"ssh cannot reach {self.destination}: {last}", hint=_hint_of(said, self.shown))

    def _failed(self, code: int, out: str, err: str) -> InstallError:
        # A script of ours ends with what it says to a person: `error: …` and `hint: …`.
        lines = [line.strip() for line in f"{out}\n{err}".splitlines() if line.strip()]
        message = next((line[7:] for line in reversed(lines) if line.startswith("error: ")), "")
        hint = next((line[6:] for line in reversed(lines) if line.startswith("hint: ")), "")
        if not message:
            tail = [line.strip() for line in err.splitlines() if line.strip()][-_TAIL_LINES:]
            message = f"a step ended with {code}: {' | '.join(tail) or 'it said nothing'}"
        return InstallError(f"{self.destination}: {message}", hint=hint or f"look there: {self.shown}")


async def _feed(process: asyncio.subprocess.Process, data: bytes | AsyncIterator[bytes]) -> None:
    stdin = process.stdin
    assert stdin is not None
    try:
        if isinstance(data, bytes):
            stdin.write(data)
            await stdin.drain()
        else:
            async for piece in data:
                for start in range(0, len(piece), _PIECE_BYTES):
                    stdin.write(piece[start : start + _PIECE_BYTES])
                    await stdin.drain()
    finally:
        with contextlib.suppress(OSError):
            stdin.close()


async def _drain(stream: asyncio.StreamReader | None) -> str:
    """All of it, its last part where it is more than can be of use."""
    assert stream is not None
    kept = bytearray()
    while piece := await stream.read(1 << 16):
        kept += piece
        del kept[:-_MAX_OUTPUT_BYTES]
    return kept.decode(errors="replace")


def host_name_of(configuration: str) -> str:
    """The `hostname` of what `ssh -G` prints; empty where it names none."""
    for line in configuration.splitlines():
        key, _, value = line.partition(" ")
        if key.lower() == "hostname":
            return value.strip()
    return ""


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


_HINTS: tuple[tuple[str, Callable[[str], str]], ...] = (
    (r"Host key verification failed", lambda shown: f"look at the key once by hand: {shown}"),
    (r"Permission denied", lambda shown: f"bring your key there: ssh-copy-id, then try: {shown} true"),
    (r"Could not resolve", lambda shown: f"check the name, or name it in ~/.ssh/config; try: {shown} true"),
    (r"Connection refused", lambda shown: f"is sshd running there, on this port? try: {shown} true"),
    (r"timed out|No route|unreachable", lambda shown: f"is it on, and on this network? try: {shown} true"),
)


def _hint_of(said: str, shown: str) -> str:
    for pattern, hint in _HINTS:
        if re.search(pattern, said):
            return hint(shown)
    return f"try by hand: {shown} true"
