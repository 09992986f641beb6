"""Two hosts on a bad network: namespaces of our own, joined by `relay.py`.

with joined(rate_bits_s=20e6, delay_s=0.02, loss=0.01) as line:
    subprocess.Popen([*line.at(0), "edgectl-agent", ...])     # reached at ADDRESSES[0]
    subprocess.Popen([*line.at(1), "edgectl", ...])
    line.shape(cut=True)
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgectl_testkit.relay import ADDRESSES

__all__ = ["ADDRESSES", "Line", "joined", "missing"]

_SUPPORT = Path(__file__).resolve().parents[1]


def missing() -> str:
    """What this machine lacks for it; empty when it has all."""
    if os.geteuid() != 0:
        return "root, to make network namespaces"
    for command in ("ip", "sysctl"):
        if shutil.which(command) is None:
            return f"the command {command}"
    if not Path("/dev/net/tun").exists():
        return "/dev/net/tun"
    name = f"edg{os.getpid()}t"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"the right to make network namespaces ({made.stderr.strip()})"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


@dataclass(frozen=True)
class Line:
    """The line between the two hosts, 0 and 1."""

    namespaces: tuple[str, str]
    control: socket.socket
    peer: str

    def at(self, side: int) -> list[str]:
        """What a command must begin with to run on one of the hosts."""
        return ["ip", "netns", "exec", self.namespaces[side]]

    def shape(self, **changes: Any) -> dict[str, list[int]]:
        """Change what the line does; the bytes that each direction has carried until now, and the packets it lost."""
        self.control.sendto(json.dumps(changes).encode(), self.peer)
        counts: dict[str, list[int]] = json.loads(self.control.recv(4096))
        return counts


@contextlib.contextmanager
def joined(*, congestion: str = "bbr", **shape: Any) -> Iterator[Line]:
    """Two hosts and a line of this shape, gone afterwards. `congestion`: TCP's, where the kernel has it."""
    names = (f"edg{os.getpid()}a", f"edg{os.getpid()}b")
    with contextlib.ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="edg-net-")))
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
            undo.callback(subprocess.run, ["ip", "netns", "del", name], check=True)
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
            choose = ["sysctl", "-qw", f"net.ipv4.tcp_congestion_control={congestion}"]
            subprocess.run(["ip", "netns", "exec", name, *choose], check=False, stderr=subprocess.DEVNULL)
        control = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        control.settimeout(10)
        control.bind(str(folder / "own"))
        command = [sys.executable, "-m", "edgectl_testkit.relay", *names, str(folder / "relay")]
        relay = undo.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(_SUPPORT)})
        )
        assert relay.stdout is not None
        undo.callback(relay.kill)
        assert relay.stdout.readline() == b"ready\n"
        line = Line(names, control, str(folder / "relay"))
        line.shape(**shape)
        yield line
