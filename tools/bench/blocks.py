"""Interleaved blocks: contestants as child processes that run N inferences when told to, one at a time."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Threads of the last contestant go on spinning for a moment.
_PAUSE_S = 0.3


@dataclass(frozen=True, slots=True)
class Spread:
    """Medians of blocks, in seconds: their median, and the lowest and highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, medians: Sequence[float]) -> Spread:
        """The spread of these block medians."""
        return cls(statistics.median(medians), min(medians), max(medians))

    def __str__(self) -> str:
        return f"{self.median * 1e3:8.2f} ms ({self.low * 1e3:.2f} to {self.high * 1e3:.2f})"


def interleave(
    commands: Mapping[str, tuple[list[str], dict[str, str]]], *, blocks: int, inferences: int, log: Path
) -> dict[str, list[float]]:
    """Block medians of each contestant: A B C A B C …, after one block each that does not count."""
    children: dict[str, subprocess.Popen[str]] = {}
    medians: dict[str, list[float]] = {name: [] for name in commands}
    with open(log, "w") as errors:
        try:
            for name, (command, environment) in commands.items():
                children[name] = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env=environment,
                )
                # Libraries print while they load.
                while _line(children[name], name, log) != "ready\n":
                    pass
            for block in range(blocks + 1):
                for name, child in children.items():
                    time.sleep(_PAUSE_S)
                    assert child.stdin is not None
                    child.stdin.write(f"{inferences}\n")
                    child.stdin.flush()
                    seconds = json.loads(_line(child, name, log))
                    if block:
                        medians[name].append(statistics.median(seconds))
        finally:
            for child in children.values():
                child.kill()
                child.wait()
    return medians


def _line(child: subprocess.Popen[str], name: str, log: Path) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise SystemExit(f"{name} ended early; see {log}:\n{log.read_text()[-2000:]}")
    return line
