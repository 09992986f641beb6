"""A bad network in user space: packets between two network namespaces, delayed, lost, paced, or not passed at all.

    python -m edgectl_testkit.relay NAMESPACE_A NAMESPACE_B CONTROL_SOCKET

A TUN device `edg0` in each namespace ends here: what one receives, the other sends, after it has queued for its turn on
a line of `rate_bits_s`, then travelled for `delay_s`. No kernel module is needed for it (netem is one). The shape
changes while it runs: a JSON document to the control socket, answered with the counts so far. `network.py` starts it.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import itertools
import json
import os
import random
import selectors
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace

ADDRESSES = ("10.78.0.1", "10.78.0.2")
_MTU = 1400
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Shape:
    """What the line does, alike in both directions. `queue` counts packets that wait for their turn; more are lost."""

    rate_bits_s: float = 1e9
    delay_s: float = 0.0
    loss: float = 0.0
    queue: int = 200
    cut: bool = False


@dataclass
class Direction:
    """One way of the line."""

    source: int
    target: int
    free_s: float = 0.0
    queued: int = 0
    sent: int = 0
    lost: int = 0


@dataclass(order=True)
class Packet:
    """On its way: due at the end of the queue, or, `travelling`, at the other end."""

    due_s: float
    number: int
    direction: Direction = field(compare=False)
    data: bytes = field(compare=False)
    travelling: bool = field(compare=False, default=False)


def device(namespace: str, address: str, peer: str) -> int:
    """A TUN device in a namespace; its descriptor works from anywhere."""
    libc = ctypes.CDLL(None, use_errno=True)
    home, there = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)

    def enter(fd: int) -> None:
        if libc.setns(fd, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    enter(there)
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22s", b"edg0", _IFF_TUN | _IFF_NO_PI, b""))
    finally:
        enter(home)
        os.close(home)
        os.close(there)
    for words in (f"addr add {address} peer {peer} dev edg0", f"link set edg0 mtu {_MTU} txqueuelen 1000 up"):
        subprocess.run(["ip", "-n", namespace, *words.split()], check=True)
    return fd


class Relay:
    """Passes packets on."""

    def __init__(self, ends: tuple[int, int], control: socket.socket) -> None:
        self._directions = (Direction(ends[0], ends[1]), Direction(ends[1], ends[0]))
        self._control = control
        self._shape = Shape()
        self._packets: list[Packet] = []
        self._numbers = itertools.count()
        self._random = random.Random(1)

    def run(self) -> None:
        """Until the process is killed."""
        with selectors.DefaultSelector() as waiting:
            for direction in self._directions:
                waiting.register(direction.source, selectors.EVENT_READ, direction)
            waiting.register(self._control, selectors.EVENT_READ)
            while True:
                left_s = max(0.0, self._packets[0].due_s - time.monotonic()) if self._packets else None
                for key, _ in waiting.select(left_s):
                    if key.data is not None:
                        self._take(key.data)
                    else:
                        self._reshape()
                self._pass_on()

    def _take(self, direction: Direction) -> None:
        for _ in range(_AT_ONCE):
            try:
                data = os.read(direction.source, 2048)
            except BlockingIOError:
                return
            shape = self._shape
            if shape.cut or self._random.random() < shape.loss or direction.queued >= shape.queue:
                direction.lost += 1
                continue
            direction.free_s = max(time.monotonic(), direction.free_s) + len(data) * 8 / shape.rate_bits_s
            direction.queued += 1
            heapq.heappush(self._packets, Packet(direction.free_s, next(self._numbers), direction, data))

    def _pass_on(self) -> None:
        now_s = time.monotonic()
        while self._packets and self._packets[0].due_s <= now_s:
            packet = heapq.heappop(self._packets)
            direction = packet.direction
            if not packet.travelling:
                direction.queued -= 1
                due_s = packet.due_s + self._shape.delay_s
                heapq.heappush(self._packets, Packet(due_s, next(self._numbers), direction, packet.data, True))
                continue
            try:
                os.write(direction.target, packet.data)
                direction.sent += len(packet.data)
            except BlockingIOError:
                direction.lost += 1

    def _reshape(self) -> None:
        message, sender = self._control.recvfrom(4096)
        self._shape = replace(self._shape, **json.loads(message))
        counts = {"sent_bytes": [d.sent for d in self._directions], "lost_packets": [d.lost for d in self._directions]}
        self._control.sendto(json.dumps(counts).encode(), sender)


def main(first: str, second: str, path: str) -> None:
    """Join the namespaces; says "ready" when packets pass."""
    ends = device(first, *ADDRESSES), device(second, *reversed(ADDRESSES))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
        control.bind(path)
        print("ready", flush=True)
        Relay(ends, control).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
