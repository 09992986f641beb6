"""The embedded agent: `--fleet local` starts `edgectl-agent run` by itself, as a process of its own.

Order: does one answer? → lock, so that two commands start one agent → spawn detached → wait for its hello,
its log shown if it ends first. It keeps running between commands, so that `status`, `rollback` and a warm
second deploy work; `edgectl agent stop` ends it, and an agent of another version is replaced.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from edgectl_host.replace_file import replace_file
from edgectl_host.transport.grpc import GrpcDeviceClient
from edgectl_host.transport.private import private_dir
from edgectl_protos.domain.device import HelloReply
from edgectl_protos.domain.errors import DeviceError, EdgectlError, UnreachableError

__all__ = ["AgentStatus", "LocalAgent", "agent_command"]

_LOG_TAIL_LINES = 15


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """The embedded agent as `edgectl doctor` shows it; `hello` None: it does not answer."""

    address: str
    state_dir: Path
    log: Path
    pid: int | None
    hello: HelloReply | None


def agent_command() -> list[str]:
    """The agent of this installation: the script beside this interpreter, else its module."""
    script = Path(sys.executable).with_name("edgectl-agent")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "edgectl_agent"]


class LocalAgent:
    """Starts, finds and stops the embedded agent. `interpreters` are the Pythons of runtimes that its own lacks."""

    def __init__(
        self,
        state_dir: Path,
        socket_path: Path,
        *,
        interpreters: Callable[[], Mapping[str, str]] = dict,
        command: Callable[[], list[str]] = agent_command,
        ready_timeout_s: float = 10.0,
        stop_timeout_s: float = 10.0,
    ) -> None:
        self._state_dir = state_dir
        self._socket_path = socket_path
        self._interpreters = interpreters
        self._command = command
        self._ready_timeout_s = ready_timeout_s
        self._stop_timeout_s = stop_timeout_s

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"unix:{self._socket_path}"

    @property
    def log(self) -> Path:
        """What it printed since it was last started."""
        return self._state_dir / "agent.log"

    async def status(self) -> AgentStatus:
        """Who answers, without starting anything."""
        return AgentStatus(self.address, self._state_dir, self.log, self._pid(), await self._hello())

    async def ensure_running(self) -> GrpcDeviceClient:
        """A connection to the agent, which is started if none answers.

        Raises:
            DeviceError: it ended, or did not answer in time; its last words are in the message.
        """
        self._tell_interpreters()
        client = await self._connect()
        if client is not None:
            return client
        async with self._starting():
            client = await self._connect()
            return client if client is not None else await self._start()

    async def stop(self) -> int | None:
        """End the agent; its process id, or None when there was none.

        Raises:
            DeviceError: it does not end.
        """
        pid = self._pid()
        if pid is None:
            return None
        os.kill(pid, signal.SIGTERM)
        async for _ in _back_off(self._stop_timeout_s):
            # The daemon removes its socket last.
            if not _alive(pid):
                return pid
        raise DeviceError(f"the local agent (pid {pid}) does not end", hint=f"kill -9 {pid}")

    async def _connect(self) -> GrpcDeviceClient | None:
        if not self._socket_path.exists():
            return None
        try:
            client = await GrpcDeviceClient.connect("local", self.address)
        except UnreachableError:
            return None
        if client.agent_version == version("edgectl-agent"):
            return client
        # Left running by an older installation.
        await client.close()
        await self.stop()
        return None

    async def _start(self) -> GrpcDeviceClient:
        self._state_dir.mkdir(parents=True, exist_ok=True)
        command = [*self._command(), "run", "--state-dir", str(self._state_dir), "--listen", self.address]
        command += ["--device", "local", "--interpreters-file", str(self._interpreters_file)]
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._state_dir,
                # Out of the terminal's process group: Ctrl-C ends the command, not the agent.
                start_new_session=True,
            )
        async for _ in _back_off(self._ready_timeout_s):
            if self._socket_path.exists() and (client := await self._connect()) is not None:
                # Its parent will be gone; `subprocess` would otherwise warn that it still runs.
                process.returncode = 0
                return client
            if process.poll() is not None:
                raise DeviceError(
                    f"the local agent ended with code {process.returncode}:\n{self._log_tail()}",
                    hint=f"its log: {self.log}; its state: {self._state_dir}",
                )
        process.kill()
        process.wait()
        raise DeviceError(
            f"the local agent did not answer within {self._ready_timeout_s:.0f} s:\n{self._log_tail()}",
            hint=f"its log: {self.log}",
        )

    @property
    def _interpreters_file(self) -> Path:
        return self._state_dir / "interpreters.json"

    def _tell_interpreters(self) -> None:
        """Write down where runtimes live, for an agent that reads it whenever it matters."""
        told = json.dumps({"interpreters": dict(self._interpreters())}, indent=1, sort_keys=True)
        file = self._interpreters_file
        if not file.is_file() or file.read_text() != told:
            self._state_dir.mkdir(parents=True, exist_ok=True)
            replace_file(file, told.encode())

    @asynccontextmanager
    async def _starting(self) -> AsyncIterator[None]:
        self._state_dir.mkdir(parents=True, exist_ok=True)
        private_dir(self._socket_path.parent)
        with (self._state_dir / "start.lock").open("w") as lock:
            # Asked again and again: a thread that waits for a lock cannot be sent home.
            async for _ in _back_off(2 * self._ready_timeout_s):
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
            else:
                raise DeviceError(
                    "another command is starting the local agent, and does not end", hint="edgectl doctor"
                )
            yield

    async def _hello(self) -> HelloReply | None:
        if not self._socket_path.exists():
            return None
        try:
            async with GrpcDeviceClient("local", self.address) as client:
                return await client.hello()
        except EdgectlError:
            return None

    def _pid(self) -> int | None:
        """The process behind the socket, as the kernel knows it."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self._socket_path))
            except OSError:
                return None
            if sys.platform == "darwin":
                return struct.unpack("i", probe.getsockopt(0, 2, 4))[0]  # SOL_LOCAL, LOCAL_PEERPID
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            pid: int = struct.unpack("3i", credentials)[0]
            return pid

    def _log_tail(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return "(no log)"
        return "\n".join(f"  | {line}" for line in lines[-_LOG_TAIL_LINES:]) or "  | (nothing)"


async def _back_off(timeout_s: float) -> AsyncIterator[None]:
    """Yield at growing intervals until the time is over."""
    pause_s = 0.02
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        yield
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.25)


def _alive(pid: int) -> bool:
    with suppress(ChildProcessError):
        # Reaps it when it is our own child; a zombie would look alive for ever.
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
