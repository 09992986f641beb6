"""`make soak`: an hour of a device's life: deploy, profile and roll back with the real commands and agent, and
kills of the agent and of its workers at random instants.

After each round the agent's memory, descriptors and threads and the size of its state are written down. 1 where one of
them grew, where a command ended in a way that no kill explains, or where a release that was installed was lost.
Writes docs/soak.json and its plot, docs/soak.svg.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(Path(__file__).parent)]

from plot import Series, plot  # noqa: E402

from edgectl_testkit.bundles import tiny_bundle  # noqa: E402
from edgectl_testkit.footprint import memory_bytes  # noqa: E402
from edgectl_testkit.whole import damage_of  # noqa: E402

BIN = Path(sys.executable).parent
WARM_ROUNDS = 20
"""Until every cache of the agent is full: the kept releases, runs and deployments."""
ROUND_PAUSE_S = 0.2
EXPECTED = {"deploy": (0, 1, 3), "profile": (0, 1, 3), "rollback": (0, 57)}
"""Exit codes of commands that nobody disturbed: 1 and 3 are verdicts, 57 says that there is nothing to go back to."""
LIMITS = {"resident_mb": 3.0, "descriptors": 2.0, "threads": 2.0, "state_mb": 0.5}
"""How much the median of the last quarter may lie above that of the first after the warm rounds."""


@dataclass(frozen=True, slots=True)
class Sample:
    """After one round. `killed`: what was killed in it, `agent`, `worker` or nothing."""

    minute: float
    command: str
    code: int
    killed: str
    resident_mb: float
    descriptors: int
    threads: int
    state_mb: float


class Device:
    """The agent's process, and who it is after a kill."""

    def __init__(self, home: Path) -> None:
        self.state, self._listen = home / "state", f"unix:{home / 'a.sock'}"
        self._log = home / "agent.log"
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        """A fresh process on the same state; returns once it listens."""
        command = [str(BIN / "edgectl-agent"), "run", "--state-dir", str(self.state), "--listen", self._listen]
        command += ["--device", "soak", "--log-level", "warning"]
        with self._log.open("ab") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(f"the agent does not start:\n{self._log.read_text(errors='replace')[-2000:]}")
        return process

    def kill(self, what: str) -> bool:
        """Kill the agent, or one of its workers; whether there was one."""
        if what == "agent":
            self.stop()
            self.process = self._start()
            return True
        tasks = Path(f"/proc/{self.process.pid}/task")
        workers = [int(word) for path in tasks.glob("*/children") for word in path.read_text().split()]
        with contextlib.suppress(ProcessLookupError):
            # None is there, or it has ended meanwhile.
            for pid in workers[:1]:
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    def stop(self) -> None:
        """End it as a power cut would."""
        with self.process:
            self.process.kill()

    def figures(self) -> tuple[float, int, int, float]:
        """Resident MB, descriptors, threads, and MB of state."""
        proc = Path(f"/proc/{self.process.pid}")
        resident = memory_bytes(self.process.pid) / 1e6
        blocks = sum(path.lstat().st_blocks for path in self.state.rglob("*"))
        return resident, len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir())), blocks * 512 / 1e6


def main() -> int:
    """Soak for some minutes; 1 where something grew or was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0, metavar="M", help="(default: %(default)g)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is done and killed when")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", metavar="DIR", help="where record and plot go")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="edg-soak-"))
    chance = random.Random(options.seed)
    device = Device(home)
    samples, problems = [], []
    started = time.monotonic()
    try:
        bundles = [tiny_bundle(home / name, name=name)[0] for name in ("first", "second", "third")]
        (home / "fleet.yaml").write_text(f"devices:\n  soak: {{address: 'unix:{home / 'a.sock'}'}}\n")
        while (minute := (time.monotonic() - started) / 60) < options.minutes:
            sample = _round(device, bundles, home, chance, minute, installed=bool(samples))
            samples.append(sample)
            if not sample.killed and sample.code not in EXPECTED[sample.command]:
                problems.append(
                    f"round {len(samples)}: {sample.command} ended with {sample.code}, and nothing was killed"
                )
            if len(samples) % 20 == 0:
                print(f"{minute:5.1f} min  {len(samples)} rounds  {_words(sample)}", flush=True)
            time.sleep(ROUND_PAUSE_S)
        if damage := damage_of(device.state / "current"):
            problems.append(f"at the end: {damage}")
    finally:
        device.stop()
        shutil.rmtree(home, ignore_errors=True)
    problems += _growth(samples)
    _write(samples, options.out)
    killed = {what: sum(sample.killed == what for sample in samples) for what in ("agent", "worker")}
    print(f"{len(samples)} rounds, {killed['agent']} kills of the agent, {killed['worker']} of a worker")
    print("\n".join(problems) or "memory, descriptors, threads and disk are flat; nothing was lost")
    return 1 if problems else 0


def _round(
    device: Device, bundles: Sequence[Path], home: Path, chance: random.Random, minute: float, *, installed: bool
) -> Sample:
    """One command, perhaps with a kill in it, and what the agent looks like after it."""
    command = chance.choices(["deploy", "profile", "rollback"], [5, 3, 2])[0] if installed else "deploy"
    words = {
        "deploy": [str(chance.choice(bundles)), "--measure", "0.3s"],
        "profile": ["--measure", "0.3s"],
        "rollback": [],
    }[command]
    fleet = ["--fleet", "soak", "--fleet-file", str(home / "fleet.yaml"), "--json"]
    environment = {**os.environ, "EDGECTL_HOME": str(home / "host")}
    target = chance.choices(["", "agent", "worker"], [7, 1, 2])[0] if installed else ""
    hit: list[str] = []
    killer = threading.Timer(chance.uniform(0.2, 3.0), _killing(device, target, hit)) if target else None
    if killer:
        killer.start()
    done = subprocess.run([str(BIN / "edgectl"), command, *words, *fleet], env=environment, capture_output=True)
    if killer:
        killer.cancel()
        killer.join()
    resident, descriptors, threads, state = device.figures()
    return Sample(
        minute=round(minute, 3),
        command=command,
        code=done.returncode,
        killed=hit[0] if hit else "",
        resident_mb=round(resident, 2),
        descriptors=descriptors,
        threads=threads,
        state_mb=round(state, 3),
    )


def _killing(device: Device, target: str, hit: list[str]) -> Callable[[], None]:
    def kill() -> None:
        if device.kill(target):
            hit.append(target)

    return kill


def _growth(samples: Sequence[Sample]) -> list[str]:
    """What lies higher in the last quarter than in the first after the warm rounds."""
    steady = samples[WARM_ROUNDS:]
    quarter = len(steady) // 4
    if quarter < 5:
        return [f"{len(samples)} rounds are too few to say that nothing grows"]
    found = []
    for name, limit in LIMITS.items():
        first, last = (
            statistics.median(getattr(sample, name) for sample in part)
            for part in (steady[:quarter], steady[-quarter:])
        )
        if last - first > limit:
            found.append(f"{name} grew from {first:g} to {last:g}; at most {limit:g} are allowed")
    return found


def _words(sample: Sample) -> str:
    return (
        f"{sample.resident_mb:.1f} MB resident  {sample.descriptors} descriptors  {sample.threads} threads  "
        f"{sample.state_mb:.2f} MB of state"
    )


def _write(samples: Sequence[Sample], out: Path) -> None:
    lines = ",\n".join("  " + json.dumps(asdict(sample)) for sample in samples)
    (out / "soak.json").write_text(f"[\n{lines}\n]\n")
    minutes = [sample.minute for sample in samples]
    titles = {
        "resident_mb": "resident memory, MB",
        "descriptors": "open descriptors",
        "threads": "threads",
        "state_mb": "state on the disk, MB",
    }
    series = [
        Series(title, tuple(zip(minutes, (float(getattr(sample, name)) for sample in samples), strict=True)))
        for name, title in titles.items()
    ]
    kills = [sample.minute for sample in samples if sample.killed == "agent"]
    (out / "soak.svg").write_text(plot(series, marks=kills, mark="the agent was killed"))


if __name__ == "__main__":
    sys.exit(main())
