"""`make bench`: edgectl's promises as ratios, measured side by side on this machine in one run.

Prints one section a promise and writes them to `.cache/bench/results.md`, from which tools/readme.py takes the README's
table. Needs the lerobot toolchain (made on first use). Nothing else should run meanwhile.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(Path(__file__).parent)]

import numpy as np  # noqa: E402
from blocks import Spread, interleave  # noqa: E402
from llama_bench import build  # noqa: E402
from steady import steady_lines  # noqa: E402
from subjects import (  # noqa: E402
    CONFIG,
    EXAMPLE,
    THREADS,
    WORK,
    checkpoint,
    closed_run,
    converted,
    exported,
    laid_out,
    language_model,
    precisions_of,
    run,
    toolchain,
)
from transfer import bench_transfer  # noqa: E402

from edgectl_converters.homes import seat_of  # noqa: E402
from edgectl_converters.job import CALIBRATION_CASES  # noqa: E402
from edgectl_converters.products import write_products  # noqa: E402
from edgectl_converters.sources.base import ARRAYS, GOLDEN  # noqa: E402
from edgectl_converters.targets.registry import TARGETS, target  # noqa: E402
from edgectl_converters.toolchain import HOST  # noqa: E402
from edgectl_host.workflows.measure_rates import rate_of  # noqa: E402
from edgectl_protos.codec.document import from_bytes  # noqa: E402
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest, folder_of  # noqa: E402
from edgectl_protos.domain.errors import GateError, PrecisionError  # noqa: E402
from edgectl_protos.domain.loop import LoopOverrides  # noqa: E402
from edgectl_protos.domain.policy import Normalise  # noqa: E402
from edgectl_protos.domain.roofline import calls_of  # noqa: E402
from edgectl_protos.domain.run import SAMPLE_FLOORS  # noqa: E402
from edgectl_testkit.fleet_trust import FleetTrust  # noqa: E402
from edgectl_testkit.footprint import cpu_s, memory_bytes  # noqa: E402

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
SETTLE_S, IDLE_S = 4.0, 10.0
PINNED = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
FLOATS = (("onnxrt", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))
"""Of random weights: what rounding does to them is not what it does to a policy, and int8 has nothing to be held to."""
TRAINED = (*FLOATS, ("onnxrt", "int8"), ("openvino", "int8"))
PARTS = (
    ("onnxrt", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "prefix=int8,vision=int8,fp32"),
    ("openvino", "prefix=int8,vision=int8,bf16"),
)
FAMILIES = (
    ("onnxrt", "fp32"),
    ("litert", "fp32"),
    ("litert", "int8-dynamic"),
    ("executorch", "fp32"),
    ("executorch", "int8-dynamic"),
)
"""Runtimes that live in toolchains of their own, beside the first."""
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
    wanted = set("".join(sys.argv[1:]) or "abcdefg")
    WORK.mkdir(parents=True, exist_ok=True)
    say(f"{os.cpu_count()} cores, {THREADS} threads everywhere, load {os.getloadavg()[0]:.2f} at the start")
    for letter, bench in sorted(BENCHES.items()):
        if letter in wanted:
            say()
            bench()
    (WORK / "results.md").write_text("\n".join(LINES) + "\n")


def bench_loop() -> None:
    """(a) Whole loop, raw frames to final actions, against LeRobot's eager loop on the same frames."""
    say("(a) raw observations → final actions, against LeRobot's eager loop on the same; interleaved blocks")
    trained = {"0.4": EXAMPLE / "policy"}
    contest("ACT 11.7 M, trained: the example", "act", trained, TRAINED, EXAMPLE / "footage", blocks=21, inferences=12)
    act, diffusion = ({"0.4": checkpoint(policy, "0.4", note)} for policy in ("act", "diffusion"))
    contest("ACT 51.6 M, two 480×640 cameras", "act", act, FLOATS, blocks=21, inferences=4)
    contest("Diffusion 16.1 M, two 96×96 cameras, DDIM 10", "diffusion", diffusion, FLOATS, blocks=15, inferences=6)
    smolvla = {version: checkpoint("smolvla", version, note) for version in ("0.4", "0.6")}
    contest("SmolVLA 96.8 M, one 480×640 camera", "smolvla", smolvla, PARTS, blocks=15, inferences=3)


def contest(
    title: str,
    policy: str,
    paths: Mapping[str, Path],
    schemes: tuple[tuple[str, str], ...],
    footage: Path | None = None,
    *,
    blocks: int,
    inferences: int,
    eager: bool = True,
) -> None:
    """One policy, by LeRobot's version: LeRobot eager, every version, against edgectl's releases of the first; without
    `eager`, the releases against the first of them.
    """
    first = next(iter(paths))
    ours: dict[str, tuple[list[str], dict[str, str]]] = {}
    floor, observations = "", {}
    for runtime, scheme in schemes:
        if "bf16" in scheme and "bf16" not in precisions_of(runtime):
            say(f"    {runtime} {scheme}: this processor has no bf16 kernels")
            continue
        try:
            conversion = converted(paths[first], runtime, scheme, note, footage)
        except GateError as exc:
            say(f"    {runtime} {scheme}: refused, {exc.message}")
            continue
        release = laid_out(conversion)
        observations.setdefault(first, str(release / "golden.npz"))
        if not floor:
            calls = calls_of(conversion.manifest.program)
            works = {component.name: component.work for component in conversion.manifest.components}
            total = sum(work.operations * calls[name] for name, work in works.items() if work is not None)
            floors = [f"{name} {total / rate * 1e3:.0f} ms" for name, rate in product_rates().items()]
            floor = f"{total / 1e9:.1f} GFLOP an inference; at the rate of large products here: {', '.join(floors)}"
        seat = seat_of(conversion.manifest)
        chain = toolchain(seat, note) if seat != HOST else None
        python = str(chain.python) if chain else sys.executable
        command = [python, str(HERE / "edgectl_blocks.py"), str(release), str(release / "golden.npz"), str(THREADS)]
        environment = {**chain.environment(), "OMP_NUM_THREADS": str(THREADS)} if chain else dict(PINNED)
        ours[f"edgectl {runtime} {scheme}"] = (command, environment)
    theirs = {}
    for version, path in paths.items() if eager else ():
        chain = toolchain(f"lerobot-{version}", note)
        frames = observations[first]
        command = [str(chain.python), str(HERE / "lerobot_blocks.py"), policy, str(path), frames, str(THREADS)]
        theirs[f"LeRobot {version} eager"] = (command, {**chain.environment(), "OMP_NUM_THREADS": str(THREADS)})
    note(f"{policy}: interleaving blocks")
    medians = interleave({**theirs, **ours}, blocks=blocks, inferences=inferences, log=WORK / "blocks.log")
    say(f"    {title}; {blocks} blocks of {inferences}")
    say(f"      {floor}")
    base = next(iter(medians.values()))
    for name, values in medians.items():
        ratios = [one / own for one, own in zip(base, values, strict=True)]
        spread = f"{statistics.median(ratios):5.2f}× ({min(ratios):.2f} to {max(ratios):.2f})"
        say(f"      {name:45} {Spread.of(values)}   {spread}")


def bench_vendor() -> None:
    """(b) Model latency that edgectl reports, against the vendor's own tool on the same artifact."""
    act = checkpoint("act", "0.4", note)
    say("(b) model latency: edgectl's `act` p50 against the vendor's tool, same artifact, 3 interleaved rounds")
    for runtime in ("onnxrt", "openvino"):
        release = laid_out(converted(act, runtime, "fp32", note))
        ours, theirs = [], []
        for _ in range(3):
            note(f"{runtime}: vendor")
            theirs.append(vendor_median_s(runtime, release))
            note(f"{runtime}: edgectl")
            summary = closed_run(release, measure_s=14.0)
            times = next(span for span in summary.spans if span.id == "act").times
            if times.p50 is None:
                # This machine is too slow for so many inferences in the time that is measured.
                say(f"    {runtime:10} edgectl n/a (need {SAMPLE_FLOORS['p50']}, had {times.n})")
                break
            ours.append(times.p50)
        if len(ours) < len(theirs):
            continue
        ratios = [own / vendor for own, vendor in zip(ours, theirs, strict=True)]
        spread = f"{statistics.median(ratios):.3f}× ({min(ratios):.3f} to {max(ratios):.3f})"
        say(f"    {runtime:10} edgectl {Spread.of(ours)}   vendor {Spread.of(theirs)}   {spread}")


def bench_overhead() -> None:
    """(c) The tick time that no span accounts for."""
    say("(c) ovh: tick time that no span accounts for (example policy, paced at 30 Hz, then closed)")
    for runtime, precision in (("onnxrt", "fp32"), ("openvino", "int8")):
        release = laid_out(converted(EXAMPLE / "policy", runtime, precision, note, EXAMPLE / "footage"))
        paced = run(release, LoopOverrides(measure_s=5.0, threads=THREADS))
        closed = closed_run(release, measure_s=3.0)
        say(f"    {runtime} {precision}: {paced.overhead_share:.3%} paced, {closed.overhead_share:.3%} closed")


def bench_convert() -> None:
    """(d) Convert against calling the libraries directly, and cached."""
    chain = toolchain("lerobot-0.4", note)
    act = checkpoint("act", "0.4", note)
    say("(d) convert → OpenVINO, golden data and gates included, against the libraries called directly")

    def export(checkpoint: Path) -> None:
        command = [str(chain.python), str(HERE / "direct_export.py"), str(checkpoint), str(WORK / "direct.onnx")]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(command, check=True, env=chain.environment(), **quiet)

    policy, footage = EXAMPLE / "policy", EXAMPLE / "footage"
    compare_convert("full-size ACT, from its LeRobot directory, fp32", act, None, export, rounds=2)
    compare_convert("example policy, which carries its export, int8", policy, footage, export, rounds=3)
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
        command = [sys.executable, str(HERE / "direct_convert.py"), graph, out]
        command += [calibration, str(footage)] if footage else []
        # As silent as edgectl's own processes: the libraries' telemetry takes time.
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "CI": "true", "NNCF_CI": "1"})
        direct.append(time.perf_counter() - started)
    ratios = [a / b for a, b in zip(own, direct, strict=True)]
    say(f"    {title}: {statistics.median(ratios):.2f}× ({min(ratios):.2f} to {max(ratios):.2f})")
    say(f"        edgectl {Spread.of(own)}   direct {Spread.of(direct)}   cached {Spread.of(cached)}")


def bench_agent() -> None:
    """(e) The idle agent, beside daemons that people leave on devices, where those are installed."""
    say("(e) idle, 3 starts each, interleaved")
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
        say(f"    {name:26} {start}RSS {statistics.median(rss):.1f} MB · {max(cpu):.3%} of a core")
    for name in peers.keys() - contestants.keys():
        say(f"    {name:26} not installed here")


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


def bench_help() -> None:
    """(f) `edgectl --help`."""
    command = [str(BIN / "edgectl"), "--help"]
    times = [wall_s(command) for _ in range(11)][1:]
    say(f"(f) edgectl --help: {Spread.of(times)}")


def bench_steady() -> None:
    """(g) The demo's own medians, twice."""
    say("(g) the demo's tick p50 in two runs: within 2 %, or unstable, and why")
    found = []
    for number in ("first", "second"):
        note(f"demo, {number} run")
        command = [str(BIN / "edgectl"), "demo", "--json"]
        # A demo in which no release holds its deadlines ends with 1, and has its figures.
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if done.returncode not in (0, 1):
            say(f"    the demo failed: {done.stdout.strip() or done.returncode}")
            return
        found.append(json.loads(done.stdout))
    for line in steady_lines(*found):
        say(f"    {line}")


def bench_families() -> None:
    """(h) Runtimes that live in toolchains; only where it is asked for, since those take gigabytes."""
    say("(h) raw observations → final actions, by runtimes of toolchains, against the first; interleaved blocks")
    smolvla = {"0.4": checkpoint("smolvla", "0.4", note)}
    contest("SmolVLA 96.8 M, one 480×640 camera", "smolvla", smolvla, FAMILIES, blocks=11, inferences=3, eager=False)


def bench_tokens() -> None:
    """(t) Decoding against llama-bench; only where it is asked for, since it compiles for ten minutes."""
    say("(t) a decoded token, against llama-bench on the same file and threads; interleaved blocks")
    reader = next(name for name in TARGETS if "gguf" in target(name).reads)
    chain = toolchain(target(reader).home, note)
    program = build(chain.python, chain.versions["llama-cpp-python"], WORK, note)
    model = language_model("qwen3", note)
    for scheme in target(reader).schemes[:3]:
        release = laid_out(converted(model, reader, scheme, note))
        manifest = from_bytes(Manifest, (release / MANIFEST_NAME).read_bytes(), what=MANIFEST_NAME)
        with np.load(release / GOLDEN) as golden:
            depth = int(np.count_nonzero(golden["out.ids"][0]))
        file = release / manifest.components[0].folder / manifest.components[0].entry
        tokens = manifest.policy.action.shape[0] - 1
        for threads in sorted({1, THREADS}):
            ours = [str(chain.python), str(HERE / "token_blocks.py"), str(release), str(threads)]
            theirs = [sys.executable, str(HERE / "llama_bench.py"), str(program), str(file)]
            theirs += [str(threads), str(depth), str(tokens)]
            commands = {"edgectl": (ours, chain.environment()), "llama-bench": (theirs, dict(os.environ))}
            medians = interleave(commands, blocks=11, inferences=10, log=WORK / "blocks.log")
            ratios = [a / b for a, b in zip(medians["llama-bench"], medians["edgectl"], strict=True)]
            rates = {name: 1 / statistics.median(values) for name, values in medians.items()}
            say(
                f"    {scheme}, {threads} threads: edgectl {rates['edgectl']:.1f}, llama-bench "
                f"{rates['llama-bench']:.1f} tokens/s; {statistics.median(ratios):.3f}× "
                f"({min(ratios):.3f} to {max(ratios):.3f})"
            )


BENCHES = {
    "a": bench_loop,
    "b": bench_vendor,
    "c": bench_overhead,
    "d": bench_convert,
    "e": bench_agent,
    "f": bench_help,
    "g": bench_steady,
    "h": bench_families,
    "n": lambda: bench_transfer(WORK, say, note),
    "t": bench_tokens,
}


# --- helpers


@functools.cache
def product_rates() -> dict[str, float]:
    """Operations a second of large matrix products by OpenVINO, by scheme; of those that this processor has."""
    products, rates = write_products(WORK / "products.onnx"), {}
    for scheme in ("fp32", "bf16"):
        conversion = converted(products, "openvino", scheme, note)
        try:
            rates[scheme] = rate_of(conversion.manifest, closed_run(laid_out(conversion), measure_s=4.0))
        except PrecisionError:
            note(f"no {scheme} here")
    return rates


def vendor_median_s(runtime: str, release: Path) -> float:
    """The median latency by the vendor's own tool, in seconds."""
    artifact = str(next((release / folder_of("act")).glob("model.[ox]*")))
    if runtime == "onnxrt":
        command = [sys.executable, str(HERE / "onnxrt_bare.py"), artifact, str(THREADS), "14"]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1e3
    command = [str(BIN / "benchmark_app"), "-m", artifact, "-d", "CPU", "-hint", "none"]
    command += ["-nstreams", "1", "-nthreads", str(THREADS), "-api", "sync", "-t", "14", "-infer_precision", "f32"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Median:\s+([\d.]+) ms", output)
    assert found is not None, output[-2000:]
    return float(found[1]) / 1e3


def prepare_direct(path: Path, footage: Path | None) -> tuple[str, str]:
    """The exported graph, and what normalises footage for the direct script; empty without footage."""
    converted(path, "openvino", "fp32", note, footage)
    export, folder = exported(path, "openvino", "fp32", footage)
    graph = str(folder / export.components[0].files["onnx"])
    if footage is None:
        return graph, ""
    calibration = WORK / f"calibration-{path.name}.npz"
    with np.load(folder / ARRAYS) as file:
        arrays = {name: file[name] for name in file.files}
    found = {"count": np.array(CALIBRATION_CASES)}
    for step in export.program.steps:
        if isinstance(step, Normalise):
            found |= {f"{step.input}.{part}": arrays[f"{step.array}.{part}"] for part in ("offset", "scale")}
    np.savez(calibration, allow_pickle=False, **found)
    return graph, str(calibration)


def convert_command(path: Path, footage: Path | None, cache: Path) -> list[str]:
    """A conversion in a cache of its own, as a process."""
    code = (
        "import sys, pathlib\n"
        "import os\n"
        "from edgectl_converters.assignment import Assignment\n"
        "from edgectl_converters.conversion import run_conversion\n"
        "from edgectl_converters.plan import ConvertRequest\n"
        "from edgectl_converters.toolchain import Toolchains\n"
        "from edgectl_converters.workshop import Workshop\n"
        "from edgectl_host.config import HostConfig\n"
        "own = HostConfig.from_environment(os.environ, uid=os.getuid())\n"
        "p, c = map(pathlib.Path, sys.argv[1:3])\n"
        "f = pathlib.Path(sys.argv[3]) if sys.argv[3:] else None\n"
        "scheme = 'int8' if f else 'fp32'\n"
        "shop = Workshop(c, Toolchains(c, own.config_dir, own.python_search))\n"
        "run_conversion(ConvertRequest(p, Assignment.of('openvino', scheme), f), shop, lambda text: None)\n"
    )
    more = [str(footage)] if footage else []
    return [sys.executable, "-c", code, str(path), str(cache), *more]


def wall_s(command: list[str]) -> float:
    """Wall time of a process."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
