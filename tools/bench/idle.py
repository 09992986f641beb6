"""(e): the idle agent, beside other daemons."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from report import Report
from subjects import WORK

from edgectl_testkit.fleet_trust import FleetTrust
from edgectl_testkit.footprint import cpu_s, memory_bytes

BIN = Path(sys.executable).parent
SETTLE_S, IDLE_S = 4.0, 10.0


def bench_agent(report: Report) -> None:
    """(e) The idle agent, beside daemons that people leave on devices, where those are installed."""
    report.say("(e) idle, 3 starts each, interleaved")
    folder = WORK / "agent"
    shutil.rmtree(folder, ignore_errors=True)
    FleetTrust(folder).enrol(folder / "tls", "bench")
    agent = [str(BIN / "edgectl-agent"), "run", "--listen", f"unix:/tmp/edgectl-bench-{os.getpid()}.sock"]
    contestants = {
        "agent, unix socket": [*agent, "--state-dir", str(folder / "unix")],
        "agent, mutual TLS besides": [*agent, "--state-dir", str(folder / "tls"), "--listen", "tls:127.0.0.1:0"],
    }
    peers = {
        "prometheus-node-exporter": ["--web.listen-address=127.0.0.1:0"],
        "mender": ["--data", str(folder / "mender"), "daemon"],
    }
    contestants |= {name: [found, *rest] for name, rest in peers.items() if (found := shutil.which(name))}
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in contestants}
    for _ in range(3):
        for name, command in contestants.items():
            figures[name].append(idle_figures(command, ours=command[0] == agent[0]))
    for name, found in figures.items():
        up, rss, cpu = zip(*found, strict=True)
        start = f"up in {statistics.median(up):.2f} s · " if name.startswith("agent") else ""
        report.say(f"    {name:26} {start}RSS {statistics.median(rss):.1f} MB · {max(cpu):.3%} of a core")
    for name in peers.keys() - contestants.keys():
        report.say(f"    {name:26} not installed here")


def idle_figures(command: list[str], *, ours: bool) -> tuple[float, float, float]:
    """Seconds until it says that it listens, resident MB, and the share of a core while idle."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        if ours:
            process.stdout.readline()
        up = time.perf_counter() - started
        # The first seconds belong to what begins and ends with the start.
        time.sleep(SETTLE_S)
        before = cpu_s(process.pid)
        time.sleep(IDLE_S)
        figures = up, memory_bytes(process.pid) / 1e6, (cpu_s(process.pid) - before) / IDLE_S
        process.terminate()
    return figures
