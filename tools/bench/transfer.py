"""(n) Transfers over mutual TLS: beside rsync, of changed models, after a kill, on a bad line.

On loopback, or in network namespaces made for it; servers, keys and certificates are made here and thrown away.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgectl_testkit.bundles import tiny_bundle
from edgectl_testkit.fleet_trust import FleetTrust
from edgectl_testkit.network import ADDRESSES, joined, missing

HERE = Path(__file__).parent
ROUNDS = 5
GIB = 1 << 30
LAYER_FLOATS = 2_500_000
LAYERS = 20
LINE = {"rate_bits_s": 20e6, "delay_s": 0.02, "loss": 0.01}
LINE_BYTES = 40_000_000
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Took:
    """One transfer: wall time, and CPU time of both ends."""

    s: float
    cpu_s: float


@dataclass
class Agent:
    """An enrolled agent process."""

    process: subprocess.Popen[str]
    address: str
    identity: str

    @property
    def cpu_s(self) -> float:
        """Of all its threads, also of those that have ended."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S


class Bench:
    """Folders, certificates, and what is sent."""

    def __init__(self, work: Path, say: Say, note: Say) -> None:
        self.work, self.say, self.note = work / "transfer", say, note
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.log = (self.work / "processes.log").open("a+")
        self.home = self.work / "home"
        self.fleet = FleetTrust(self.home)

    def state(self, name: str) -> tuple[Path, str]:
        """The state directory of a device that was enrolled and has nothing yet; its identity."""
        state = self.work / name
        shutil.rmtree(state, ignore_errors=True)
        return state, self.fleet.enrol(state, "bench")

    @contextlib.contextmanager
    def agent(
        self, state: Path, identity: str, *, host: str = "127.0.0.1", at: tuple[str, ...] = ()
    ) -> Iterator[Agent]:
        """A running agent."""
        command = [*at, sys.executable, "-m", "edgectl_agent", "run", "--state-dir", str(state), "--device", "bench"]
        command += ["--listen", f"tls:{host}:{free_port() if not at else 7443}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True) as process:
            try:
                assert process.stdout is not None
                said = process.stdout.readline()
                assert said.startswith("listening on "), self.said()
                yield Agent(process, said.removeprefix("listening on ").strip(), identity)
            finally:
                process.kill()

    def sender(
        self, agent: Agent, bundle: Path, at: tuple[str, ...] = (), patience_s: float = 60.0
    ) -> subprocess.Popen[str]:
        """The host, sending."""
        command = [*at, sys.executable, str(HERE / "send_bundle.py"), str(self.home), "bench", agent.address]
        command += [agent.identity, str(bundle), str(patience_s)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)

    def sent(self, agent: Agent, bundle: Path, at: tuple[str, ...] = ()) -> dict[str, float]:
        """What it took to send a bundle."""
        with self.sender(agent, bundle, at) as sender:
            out, _ = sender.communicate()
        assert sender.returncode == 0, self.said()
        found: dict[str, float] = json.loads(out.splitlines()[-1])
        return found

    def said(self) -> str:
        """The last words of the processes."""
        return Path(self.log.name).read_text()[-3000:]

    def bundle(self, name: str, data: bytes, path: str = "weights.bin") -> Path:
        """A bundle with these bytes."""
        folder, _ = tiny_bundle(self.work / name, name=name, extra={path: data})
        return folder


def bench_transfer(work: Path, say: Say, note: Say) -> None:
    """All parts."""
    bench = Bench(work, say, note)
    say("(n) transfers over mutual TLS, verified and synced; loopback, both ends on this machine")
    try:
        big = bench.bundle("big", np.random.default_rng(1).bytes(GIB))
        beside_rsync(bench, big)
        after_a_kill(bench, big)
        changed_models(bench)
        bad_line(bench)
    finally:
        shutil.rmtree(bench.work, ignore_errors=True)


def beside_rsync(bench: Bench, big: Path) -> None:
    """1 GiB, in turns."""
    source = max((big / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    ways: dict[str, Callable[[], Took]] = {"edgectl, mutual TLS": lambda: by_edgectl(bench, big)}
    if shutil.which("rsync") is None:
        bench.say("    no rsync here: apt-get install rsync openssh-server")
    else:
        ways["rsync daemon, plaintext"] = lambda: by_daemon(bench, source)
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"
        if Path(sshd).exists():
            ways["rsync over ssh"] = lambda: by_ssh(bench, source, sshd)
        else:
            bench.say("    no sshd here: apt-get install openssh-server")
    bench.note("1 GiB, once each unmeasured")
    for way in ways.values():
        way()
    took: dict[str, list[Took]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        bench.note(f"1 GiB, round {number + 1} of {ROUNDS}, load {os.getloadavg()[0]:.2f}")
        order = list(ways)
        for name in order[number % len(order) :] + order[: number % len(order)]:
            took[name].append(ways[name]())
    own = took["edgectl, mutual TLS"]
    for name, rounds in took.items():
        rates = [GIB / 1e6 / each.s for each in rounds]
        ratios = [other.s / mine.s for mine, other in zip(own, rounds, strict=True)]
        spread = f"{statistics.median(ratios):.2f}× ({min(ratios):.2f} to {max(ratios):.2f})"
        bench.say(
            f"    {name:24} {statistics.median(rates):5.0f} MB/s ({min(rates):.0f} to {max(rates):.0f})   "
            f"{statistics.median(each.cpu_s for each in rounds):.2f} CPU s/GiB   edgectl is {spread} as fast"
        )


def by_edgectl(bench: Bench, big: Path) -> Took:
    """Through an agent that has nothing."""
    state, identity = bench.state("state")
    with bench.agent(state, identity) as agent:
        before = agent.cpu_s
        found = bench.sent(agent, big)
        cpu_s = agent.cpu_s - before + found["cpu_s"]
    shutil.rmtree(state)
    return Took(found["s"], cpu_s)


def by_daemon(bench: Bench, source: Path) -> Took:
    """Into a module of an rsync daemon."""
    port, target = free_port(), bench.work / "received"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    config = bench.work / "rsyncd.conf"
    own = f"uid = {os.getuid()}\ngid = {os.getgid()}\n" if os.getuid() == 0 else ""
    config.write_text(f"use chroot = no\n{own}[here]\npath = {target}\nread only = no\n")
    server = ["rsync", "--daemon", "--no-detach", "--address=127.0.0.1", f"--port={port}", f"--config={config}"]
    client = ["rsync", "-W", "--fsync", str(source), f"rsync://127.0.0.1:{port}/here/"]
    return between(server, client, port)


def by_ssh(bench: Bench, source: Path, sshd: str) -> Took:
    """To an sshd with keys of its own."""
    port, target, keys = free_port(), bench.work / "received", bench.work / "ssh"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    if not keys.exists():
        keys.mkdir(mode=0o700)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
    config = keys / "config"
    config.write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {keys}/host\nAuthorizedKeysFile {keys}/user.pub\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nPermitRootLogin prohibit-password\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    ssh = f"ssh -F none -p {port} -i {keys}/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    client = ["rsync", "-W", "--fsync", "-e", f"{ssh} -o LogLevel=ERROR", str(source)]
    return between([sshd, "-D", "-f", str(config)], [*client, f"{getpass.getuser()}@127.0.0.1:{target}/"], port)


def between(server: list[str], client: list[str], port: int) -> Took:
    """One run of a client against a server of its own, ended afterwards; CPU of both and of their children."""
    served = subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        began = time.perf_counter()
        sending = subprocess.Popen(client, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(sending.pid, 0)
        seconds = time.perf_counter() - began
        sending.returncode = os.waitstatus_to_exitcode(status)
        assert sending.returncode == 0, client
        children = Path(f"/proc/{served.pid}/task/{served.pid}/children")
        while children.read_text().strip():
            time.sleep(0.01)
    finally:
        served.send_signal(signal.SIGTERM)
        _, status, serving = os.wait4(served.pid, 0)
        served.returncode = os.waitstatus_to_exitcode(status)
    return Took(seconds, sum(each.ru_utime + each.ru_stime for each in (used, serving)))


def after_a_kill(bench: Bench, big: Path) -> None:
    """The agent killed half-way: how much of what it had acknowledged is sent again."""
    bench.note("a kill in the middle of 1 GiB")
    state, identity = bench.state("state")
    total = sum(path.stat().st_size for path in (big / "blobs/sha256").iterdir())
    acknowledged = 0.0
    with bench.agent(state, identity) as agent, bench.sender(agent, big, patience_s=0.0) as sender:
        assert sender.stdout is not None
        for line in sender.stdout:
            acknowledged = json.loads(line).get("durable", acknowledged) * total
            if acknowledged > total / 2 and agent.process.poll() is None:
                agent.process.kill()
                # What was acknowledged before it died may still be on its way here: it is read like the rest.
        sender.wait()
    with bench.agent(state, identity) as agent:
        again = bench.sent(agent, big)["sent_bytes"]
    shutil.rmtree(state)
    repeated = max(0.0, again - (total - acknowledged)) / acknowledged
    bench.say(
        f"    killed after {acknowledged / 1e6:.0f} MB were acknowledged: {again / 1e6:.0f} MB sent afterwards, "
        f"{1 - repeated:.1%} of what was acknowledged not again"
    )


def changed_models(bench: Bench) -> None:
    """What is sent of a model of 200 MB that is there in another version."""
    from safetensors.numpy import save

    bench.note("changed models")
    rng = np.random.default_rng(0)
    layers = {f"layer.{i:02}": rng.standard_normal(LAYER_FLOATS, dtype=np.float32) for i in range(LAYERS)}
    old = save(layers)
    last = f"layer.{LAYERS - 1:02}"
    changed = save(layers | {last: rng.standard_normal(LAYER_FLOATS, dtype=np.float32)})
    # A header that grew, and the same in a format that nobody knows.
    moved = save(layers, metadata={"note": "x" * 100})
    plain = old[1000:]
    sent = []
    state, identity = bench.state("state")
    with bench.agent(state, identity) as agent:
        for name, data in (("old", old), ("changed", changed), ("moved", moved), ("plain", plain)):
            sent.append(sent_in_all(bench.sent(agent, bench.bundle(name, data, "model.safetensors"))))
        sent.append(sent_in_all(bench.sent(agent, bench.bundle("shifted", plain[:9] + bytes(100) + plain[9:]))))
    shutil.rmtree(state)
    layer = LAYER_FLOATS * 4
    bench.say(
        f"    the last of {LAYERS} layers of {len(old) / 1e6:.0f} MB changed: {sent[1] / 1e6:.2f} MB sent, offers "
        f"included, {sent[1] / layer:.3f}× the layer"
    )
    bench.say(f"    {len(moved) - len(old)} bytes more in its header: {sent[2] / 1e6:.2f} MB sent, offers included")
    bench.say(f"    100 bytes inserted into a file of no known format: {sent[4] / 1e6:.2f} MB sent, offers included")


def sent_in_all(found: dict[str, float]) -> float:
    """Bytes of frames and of offers."""
    return found["sent_bytes"] + found["offer_bytes"]


def bad_line(bench: Bench) -> None:
    """On a line that is slow, long and lossy."""
    lacking = missing()
    if lacking:
        bench.say(f"    no bad line here: it needs {lacking}")
        return
    bench.note("a bad line")
    bundle = bench.bundle("small", np.random.default_rng(2).bytes(LINE_BYTES))
    state, identity = bench.state("state")
    with joined(**LINE) as line:
        here, there = tuple(line.at(1)), tuple(line.at(0))
        with bench.agent(state, identity, host=ADDRESSES[0], at=there) as agent:
            found = bench.sent(agent, bundle, at=here)
        counts = line.shape()
    shutil.rmtree(state)
    rate = found["sent_bytes"] * 8 / found["s"]
    line = f"{LINE['rate_bits_s'] / 1e6:.0f} Mbit/s, {2 * LINE['delay_s'] * 1e3:.0f} ms there and back"
    bench.say(
        f"    {line}, {LINE['loss']:.0%} lost each way: {found['sent_bytes'] / 1e6:.0f} MB in {found['s']:.1f} s, "
        f"{rate / LINE['rate_bits_s']:.1%} of the line ({sum(counts['lost_packets'])} packets lost)"
    )


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Until somebody listens."""
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)
    raise TimeoutError(f"nobody listens on {port}")
