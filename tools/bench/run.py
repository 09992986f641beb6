"""`make bench`: edgectl's promises as ratios, measured side by side on this machine in one run.

Prints one section a promise and writes them to `.cache/bench/results.md`, from which tools/readme.py takes the README's
table. Needs the lerobot toolchain (made on first use). Nothing else should run meanwhile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(Path(__file__).parent)]

from blocks import Spread  # noqa: E402
from conversions import bench_convert  # noqa: E402
from idle import bench_agent  # noqa: E402
from loops import bench_families, bench_loop  # noqa: E402
from models import bench_tokens, bench_vendor  # noqa: E402
from report import Report  # noqa: E402
from steady import steady_lines  # noqa: E402
from subjects import EXAMPLE, THREADS, WORK, closed_run, converted, laid_out, run  # noqa: E402
from timing import wall_s  # noqa: E402
from transfer import bench_transfer  # noqa: E402

from edgectl_protos.domain.loop import LoopOverrides  # noqa: E402

BIN = Path(sys.executable).parent


def main() -> None:
    """All promises, or those whose letters are named."""
    wanted = set("".join(sys.argv[1:]) or "abcdefg")
    WORK.mkdir(parents=True, exist_ok=True)
    report = Report()
    report.say(f"{os.cpu_count()} cores, {THREADS} threads everywhere, load {os.getloadavg()[0]:.2f} at the start")
    for letter, bench in sorted(BENCHES.items()):
        if letter in wanted:
            report.say()
            bench(report)
    report.write(WORK / "results.md")


def bench_overhead(report: Report) -> None:
    """(c) The tick time that no span accounts for."""
    report.say("(c) ovh: tick time that no span accounts for (example policy, paced at 30 Hz, then closed)")
    for runtime, precision in (("onnxrt", "fp32"), ("openvino", "int8")):
        release = laid_out(converted(EXAMPLE / "policy", runtime, precision, report.note, EXAMPLE / "footage"))
        paced = run(release, LoopOverrides(measure_s=5.0, threads=THREADS))
        closed = closed_run(release, measure_s=3.0)
        report.say(f"    {runtime} {precision}: {paced.overhead_share:.3%} paced, {closed.overhead_share:.3%} closed")


def bench_help(report: Report) -> None:
    """(f) `edgectl --help`."""
    command = [str(BIN / "edgectl"), "--help"]
    times = [wall_s(command) for _ in range(11)][1:]
    report.say(f"(f) edgectl --help: {Spread.of(times)}")


def bench_steady(report: Report) -> None:
    """(g) The demo's own medians, twice."""
    report.say("(g) the demo's tick p50 in two runs: within 2 %, or unstable, and why")
    found = []
    for number in ("first", "second"):
        report.note(f"demo, {number} run")
        command = [str(BIN / "edgectl"), "demo", "--json"]
        # A demo in which no release holds its deadlines ends with 1, and has its figures.
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if done.returncode not in (0, 1):
            report.say(f"    the demo failed: {done.stdout.strip() or done.returncode}")
            return
        found.append(json.loads(done.stdout))
    for line in steady_lines(*found):
        report.say(f"    {line}")


BENCHES = {
    "a": bench_loop,
    "b": bench_vendor,
    "c": bench_overhead,
    "d": bench_convert,
    "e": bench_agent,
    "f": bench_help,
    "g": bench_steady,
    "h": bench_families,
    "n": lambda report: bench_transfer(WORK, report.say, report.note),
    "t": bench_tokens,
}


if __name__ == "__main__":
    main()
