"""`make bench`: edgectl's promises as ratios, measured side by side on this machine in one run.

Prints one section a promise and writes them to `.cache/bench/results.md`, from which tools/readme.py takes the README's
table. Needs the lerobot toolchain (made on first use). Nothing else should run meanwhile.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(Path(__file__).parent)]

import numpy as np  # noqa: E402
from blocks import Spread, interleave  # noqa: E402

from edgectl_agent.core.workers import Worker  # noqa: E402
from edgectl_agent.frames import Load, Loaded, Run, RunReply  # noqa: E402
from edgectl_converters.card import sha256_of  # noqa: E402
from edgectl_converters.convert import CALIBRATION_CASES, ConvertRequest, ConvertResult, convert  # noqa: E402
from edgectl_converters.inspect import inspect  # noqa: E402
from edgectl_converters.observations import observe  # noqa: E402
from edgectl_converters.sources import lerobot  # noqa: E402
from edgectl_converters.toolchain import Toolchain, Toolchains  # noqa: E402
from edgectl_host.config import HostConfig  # noqa: E402
from edgectl_protos.domain.artifact import Precision  # noqa: E402
from edgectl_protos.domain.errors import GateError  # noqa: E402
from edgectl_protos.domain.loop import LoopOverrides, Mode, Policy  # noqa: E402
from edgectl_protos.domain.run import RunSummary  # noqa: E402
from edgectl_testkit.bundles import release_dir  # noqa: E402

HERE = Path(__file__).parent
WORK = ROOT / ".cache" / "bench"
EXAMPLE = ROOT / "examples" / "press_pad"
BIN = Path(sys.executable).parent
THREADS = 2
IDLE_S = 10.0
CONFIG = HostConfig.from_environment(os.environ, uid=os.getuid())
PINNED = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
LINES: list[str] = []


def say(line: str = "") -> None:
    """Print a line and keep it."""
    print(line, flush=True)
    LINES.append(line)


def note(text: str) -> None:
    """Progress, not kept."""
    print(f"  … {text}", file=sys.stderr, flush=True)


def main() -> None:
    """All promises, or those whose letters are named."""
    wanted = set("".join(sys.argv[1:]) or "abcdef")
    WORK.mkdir(parents=True, exist_ok=True)
    say(f"{os.cpu_count()} cores, {THREADS} threads everywhere, load {os.getloadavg()[0]:.2f} at the start")
    for letter, bench in sorted(BENCHES.items()):
        if letter in wanted:
            say()
            bench()
    (WORK / "results.md").write_text("\n".join(LINES) + "\n")


def bench_loop() -> None:
    """(a) Whole loop, raw frames to final actions, against LeRobot's eager loop on the same frames."""
    toolchain = Toolchains(CONFIG.cache_dir, CONFIG.config_dir).get("lerobot", note)
    checkpoint = full_act(toolchain)
    commands = {}
    observations = ""
    for runtime, precision in (
        ("onnxrt", "fp32"),
        ("openvino", "fp32"),
        ("onnxrt", "int8"),
        ("openvino", "bf16"),
        ("openvino", "int8"),
    ):
        try:
            release = laid_out(converted(checkpoint, runtime, precision), f"act-{runtime}-{precision}")
        except GateError as exc:
            say(f"{runtime} {precision}: refused, {exc.message}")
            continue
        observations = str(release / "golden.npz")
        command = [sys.executable, str(HERE / "edgectl_blocks.py"), str(release), observations, str(THREADS)]
        commands[f"edgectl {runtime} {precision}"] = (command, dict(PINNED))
    eager = [str(toolchain.python), str(HERE / "lerobot_blocks.py"), str(checkpoint), observations, str(THREADS)]
    commands = {"LeRobot eager": (eager, {**toolchain.environment(), "OMP_NUM_THREADS": str(THREADS)}), **commands}
    note("interleaving blocks")
    medians = interleave(commands, blocks=21, inferences=4, log=WORK / "blocks.log")
    say("(a) raw uint8 frames → final actions, ACT 51.6 M, two 480×640 cameras; 21 interleaved blocks of 4")
    for name, values in medians.items():
        ratios = [base / own for base, own in zip(medians["LeRobot eager"], values, strict=True)]
        spread = f"{statistics.median(ratios):5.2f}× ({min(ratios):.2f} to {max(ratios):.2f})"
        say(f"    {name:22} {Spread.of(values)}   {spread}")


def bench_vendor() -> None:
    """(b) Model latency that edgectl reports, against the vendor's own tool on the same artifact."""
    toolchain = Toolchains(CONFIG.cache_dir, CONFIG.config_dir).get("lerobot", note)
    checkpoint = full_act(toolchain)
    say("(b) model latency: edgectl's `act` p50 against the vendor's tool, same artifact, 3 interleaved rounds")
    for runtime in ("onnxrt", "openvino"):
        release = laid_out(converted(checkpoint, runtime, "fp32"), f"act-{runtime}-fp32")
        ours, theirs = [], []
        for _ in range(3):
            note(f"{runtime}: vendor")
            theirs.append(vendor_median_s(runtime, release))
            note(f"{runtime}: edgectl")
            summary = closed_run(release, measure_s=14.0)
            p50 = next(stage for stage in summary.stages if stage.id == "act").times.p50
            assert p50 is not None
            ours.append(p50)
        ratios = [own / vendor for own, vendor in zip(ours, theirs, strict=True)]
        spread = f"{statistics.median(ratios):.3f}× ({min(ratios):.3f} to {max(ratios):.3f})"
        say(f"    {runtime:10} edgectl {Spread.of(ours)}   vendor {Spread.of(theirs)}   {spread}")


def bench_overhead() -> None:
    """(c) The tick time that no stage accounts for."""
    say("(c) ovh: tick time that no stage accounts for (example policy, paced at 30 Hz, then closed)")
    for runtime, precision in (("onnxrt", "fp32"), ("openvino", "int8")):
        result = converted(EXAMPLE / "policy", runtime, precision, EXAMPLE / "footage")
        release = laid_out(result, f"pad-{runtime}-{precision}")
        paced = run(release, LoopOverrides(measure_s=5.0, threads=THREADS))
        closed = closed_run(release, measure_s=3.0)
        say(f"    {runtime} {precision}: {paced.overhead_share:.3%} paced, {closed.overhead_share:.3%} closed")


def bench_convert() -> None:
    """(d) Convert against calling the libraries directly, and cached."""
    toolchain = Toolchains(CONFIG.cache_dir, CONFIG.config_dir).get("lerobot", note)
    act = full_act(toolchain)
    say("(d) convert → OpenVINO int8, golden data and gates included, against the libraries called directly")

    def export(checkpoint: Path) -> None:
        command = [str(toolchain.python), str(HERE / "direct_export.py"), str(checkpoint), str(WORK / "direct.onnx")]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(command, check=True, env=toolchain.environment(), **quiet)

    policy, footage = EXAMPLE / "policy", EXAMPLE / "footage"
    compare_convert("full-size ACT, from its LeRobot directory", act, None, export, rounds=2)
    compare_convert("example policy, which carries its export", policy, footage, export, rounds=3)
    compare_convert("the same, its graph handed to the libraries ready-made", policy, footage, None, rounds=3)


def compare_convert(
    title: str, checkpoint: Path, footage: Path | None, export: Callable[[Path], None] | None, *, rounds: int
) -> None:
    """One line: edgectl, the libraries, the ratio, and the second time."""
    graph, calibration = prepare_direct(checkpoint, footage)
    own, direct, cached = [], [], []
    for _ in range(rounds):
        cache = WORK / "convert"
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir()
        (cache / "toolchains").symlink_to(CONFIG.cache_dir / "toolchains")
        command = convert_command(checkpoint, footage, cache)
        note(f"{title}: edgectl")
        own.append(wall_s(command))
        cached.append(wall_s(command))
        note(f"{title}: direct")
        started = time.perf_counter()
        if export is not None:
            export(checkpoint)
            graph = str(WORK / "direct.onnx")
        out = str(WORK / "direct.xml")
        command = [sys.executable, str(HERE / "direct_convert.py"), graph, calibration, out]
        command += [str(footage)] if footage else []
        # As silent as edgectl's own processes: the libraries' telemetry takes time.
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "CI": "true", "NNCF_CI": "1"})
        direct.append(time.perf_counter() - started)
    ratios = [a / b for a, b in zip(own, direct, strict=True)]
    say(f"    {title}: {statistics.median(ratios):.2f}× ({min(ratios):.2f} to {max(ratios):.2f})")
    say(f"        edgectl {Spread.of(own)}   direct {Spread.of(direct)}   cached {Spread.of(cached)}")


def bench_agent() -> None:
    """(e) The idle agent."""
    up, rss, cpu = [], [], []
    for _ in range(3):
        state = WORK / "agent"
        shutil.rmtree(state, ignore_errors=True)
        listen = f"unix:/tmp/edgectl-bench-{os.getpid()}.sock"
        command = [str(BIN / "edgectl-agent"), "run", "--state-dir", str(state), "--listen", listen]
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            up.append(time.perf_counter() - started)
            time.sleep(1.0)
            before = cpu_s(process.pid)
            time.sleep(IDLE_S)
            cpu.append((cpu_s(process.pid) - before) / IDLE_S)
            rss.append(rss_mb(process.pid))
            process.terminate()
    say("(e) idle agent")
    say(f"    up in {statistics.median(up):.2f} s · RSS {statistics.median(rss):.1f} MB · {max(cpu):.3%} of a core")


def bench_help() -> None:
    """(f) `edgectl --help`."""
    command = [str(BIN / "edgectl"), "--help"]
    times = [wall_s(command) for _ in range(11)][1:]
    say(f"(f) edgectl --help: {Spread.of(times)}")


BENCHES = {
    "a": bench_loop,
    "b": bench_vendor,
    "c": bench_overhead,
    "d": bench_convert,
    "e": bench_agent,
    "f": bench_help,
}


# --- helpers


def full_act(toolchain: Toolchain) -> Path:
    """A full-size ACT directory, made once by LeRobot itself."""
    checkpoint = WORK / "act"
    if not (checkpoint / "model.safetensors").exists():
        note("making a full-size ACT with LeRobot")
        command = [str(toolchain.python), str(HERE / "act_checkpoint.py"), str(checkpoint)]
        subprocess.run(command, check=True, env=toolchain.environment(), stdout=subprocess.DEVNULL)
    return checkpoint


def converted(checkpoint: Path, runtime: str, precision: str, footage: Path | None = None) -> ConvertResult:
    """The release in edgectl's own cache."""
    note(f"converting {checkpoint.name} for {runtime} {precision}")
    request = ConvertRequest(checkpoint, runtime, Precision(precision), footage)
    return convert(request, cache_dir=CONFIG.cache_dir, config_dir=CONFIG.config_dir, progress=note)


def laid_out(result: ConvertResult, name: str) -> Path:
    """The release as it lies on a device."""
    folder = WORK / "releases" / f"{name}-{result.release.short}"
    return folder if folder.exists() else release_dir(result.bundle_dir, folder)


def run(release: Path, overrides: LoopOverrides) -> RunSummary:
    """One run by a worker process, as the agent would ask for it."""
    from edgectl_testkit.runs import device_facts

    worker = Worker([sys.executable, "-m", "edgectl_agent.worker"], WORK / "worker.log", stop_s=5.0)
    try:
        worker.ask(Load(str(release), THREADS), Loaded, timeout_s=120)
        request = Run("bench", "bench", overrides, device_facts(), str(WORK / "samples.npz"))
        return worker.ask(request, RunReply, timeout_s=600).summary
    finally:
        worker.stop()


def closed_run(release: Path, *, measure_s: float) -> RunSummary:
    """One run in a closed loop, each tick an inference as far as the policy allows."""
    return run(release, LoopOverrides(mode=Mode.CLOSED, measure_s=measure_s, threads=THREADS))


def vendor_median_s(runtime: str, release: Path) -> float:
    """The median latency by the vendor's own tool, in seconds."""
    if runtime == "onnxrt":
        command = [sys.executable, str(HERE / "onnxrt_bare.py"), str(release / "full.onnx"), str(THREADS), "14"]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1e3
    command = [str(BIN / "benchmark_app"), "-m", str(release / "full.xml"), "-d", "CPU", "-hint", "none"]
    command += ["-nstreams", "1", "-nthreads", str(THREADS), "-api", "sync", "-t", "14", "-infer_precision", "f32"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Median:\s+([\d.]+) ms", output)
    assert found is not None, output[-2000:]
    return float(found[1]) / 1e3


def prepare_direct(checkpoint: Path, footage: Path | None) -> tuple[str, str]:
    """The exported graph and the calibration cases that edgectl used, for the direct script."""
    result = converted(checkpoint, "openvino", "fp32", footage)
    policy = inspect(checkpoint).policy
    arrays: Any = lerobot.policy_arrays(checkpoint, policy)
    path = WORK / f"calibration-{result.release.short}.npz"
    np.savez(path, **(synthetic_cases(policy, arrays) if footage is None else footage_arrays(arrays)))
    golden = result.manifest.file("golden.npz").digest
    for graph in (CONFIG.cache_dir / "steps").glob("*/full.onnx"):
        beside = graph.with_name("golden.npz")
        if beside.exists() and sha256_of(beside) == golden:
            return str(graph), str(path)
    raise SystemExit(f"the export of {checkpoint} is not in the cache")


def synthetic_cases(policy: Policy, arrays: Any) -> Any:
    """Synthetic observations as the exported graph takes them."""
    raw = observe(policy.observations, None, arrays, count=CALIBRATION_CASES, seed=0)
    inputs = {}
    for feature in policy.observations:
        mul, add = arrays[f"pre.{feature.name}.mul"], arrays[f"pre.{feature.name}.add"]
        values = (raw[feature.name] * mul + add).astype(np.float32)
        inputs[feature.tensor] = (values.transpose(0, 3, 1, 2) if values.ndim == 4 else values)[:, None]
    return inputs


def footage_arrays(arrays: Any) -> Any:
    """What normalises recorded observations, and how many are to be taken."""
    pre = {name.removeprefix("pre."): values for name, values in arrays.items() if name.startswith("pre.")}
    return {"count": np.array(CALIBRATION_CASES), **pre}


def convert_command(checkpoint: Path, footage: Path | None, cache: Path) -> list[str]:
    """A conversion in a cache of its own, as a process."""
    code = (
        "import sys, pathlib\n"
        "from edgectl_converters.convert import ConvertRequest, convert\n"
        "from edgectl_protos.domain.artifact import Precision\n"
        "p, c, s = map(pathlib.Path, sys.argv[1:4])\n"
        "f = pathlib.Path(sys.argv[4]) if sys.argv[4:] else None\n"
        "r = ConvertRequest(p, 'openvino', Precision.INT8, f)\n"
        "convert(r, cache_dir=c, config_dir=s, progress=lambda text: None)\n"
    )
    more = [str(footage)] if footage else []
    return [sys.executable, "-c", code, str(checkpoint), str(cache), str(CONFIG.config_dir), *more]


def wall_s(command: list[str]) -> float:
    """Wall time of a process."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, all threads; the kernel's own nanoseconds, since a clock tick is 0.1 % of 10 s."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
