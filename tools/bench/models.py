"""(b), (t): what a model takes, beside the vendor's own tools."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
from blocks import Spread, interleave
from llama_bench import build
from report import Report
from subjects import THREADS, WORK, checkpoint, closed_run, converted, laid_out, language_model, toolchain

from edgectl_converters.sources.base import GOLDEN
from edgectl_converters.targets.registry import TARGETS, target
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest, folder_of
from edgectl_protos.domain.run import SAMPLE_FLOORS

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent


def bench_vendor(report: Report) -> None:
    """(b) Model latency that edgectl reports, against the vendor's own tool on the same artifact."""
    act = checkpoint("act", "0.4", report.note)
    report.say("(b) model latency: edgectl's `act` p50 against the vendor's tool, same artifact, 3 interleaved rounds")
    for runtime in ("onnxrt", "openvino"):
        release = laid_out(converted(act, runtime, "fp32", report.note))
        ours, theirs = [], []
        for _ in range(3):
            report.note(f"{runtime}: vendor")
            theirs.append(vendor_median_s(runtime, release))
            report.note(f"{runtime}: edgectl")
            summary = closed_run(release, measure_s=14.0)
            times = next(span for span in summary.spans if span.id == "act").times
            if times.p50 is None:
                # This machine is too slow for so many inferences in the time that is measured.
                report.say(f"    {runtime:10} edgectl n/a (need {SAMPLE_FLOORS['p50']}, had {times.n})")
                break
            ours.append(times.p50)
        if len(ours) < len(theirs):
            continue
        ratios = [own / vendor for own, vendor in zip(ours, theirs, strict=True)]
        spread = f"{statistics.median(ratios):.3f}× ({min(ratios):.3f} to {max(ratios):.3f})"
        report.say(f"    {runtime:10} edgectl {Spread.of(ours)}   vendor {Spread.of(theirs)}   {spread}")


def bench_tokens(report: Report) -> None:
    """(t) Decoding against llama-bench; only where it is asked for, since it compiles for ten minutes."""
    report.say("(t) a decoded token, against llama-bench on the same file and threads; interleaved blocks")
    reader = next(name for name in TARGETS if "gguf" in target(name).reads)
    chain = toolchain(target(reader).home, report.note)
    program = build(chain.python, chain.versions["llama-cpp-python"], WORK, report.note)
    model = language_model("qwen3", report.note)
    for scheme in target(reader).schemes[:3]:
        release = laid_out(converted(model, reader, scheme, report.note))
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
            report.say(
                f"    {scheme}, {threads} threads: edgectl {rates['edgectl']:.1f}, llama-bench "
                f"{rates['llama-bench']:.1f} tokens/s; {statistics.median(ratios):.3f}× "
                f"({min(ratios):.3f} to {max(ratios):.3f})"
            )


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
