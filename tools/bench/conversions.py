"""(d): a conversion, beside the same libraries called directly."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from blocks import Spread
from report import Report
from subjects import CONFIG, EXAMPLE, WORK, checkpoint, converted, exported, toolchain
from timing import wall_s

from edgectl_converters.job import CALIBRATION_CASES
from edgectl_converters.sources.base import ARRAYS
from edgectl_protos.domain.program import Normalise

HERE = Path(__file__).parent


def bench_convert(report: Report) -> None:
    """(d) Convert against calling the libraries directly, and cached."""
    chain = toolchain("lerobot-0.4", report.note)
    act = checkpoint("act", "0.4", report.note)
    report.say("(d) convert → OpenVINO, golden data and gates included, against the libraries called directly")

    def export(checkpoint: Path) -> None:
        command = [str(chain.python), str(HERE / "direct_export.py"), str(checkpoint), str(WORK / "direct.onnx")]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(command, check=True, env=chain.environment(), **quiet)

    policy, footage = EXAMPLE / "policy", EXAMPLE / "footage"
    compare_convert(report, "full-size ACT, from its LeRobot directory, fp32", act, None, export, rounds=2)
    compare_convert(report, "example policy, which carries its export, int8", policy, footage, export, rounds=3)
    compare_convert(report, "the same, its graph handed to the libraries ready-made", policy, footage, None, rounds=3)


def compare_convert(
    report: Report,
    title: str,
    checkpoint: Path,
    footage: Path | None,
    export: Callable[[Path], None] | None,
    *,
    rounds: int,
) -> None:
    """One line: edgectl, the libraries, the ratio, and the second time."""
    graph, calibration = prepare_direct(report, checkpoint, footage)
    own, direct, cached = [], [], []
    for _ in range(rounds):
        cache = WORK / "convert"
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir()
        (cache / "toolchains").symlink_to(CONFIG.cache_dir / "toolchains")
        command = convert_command(checkpoint, footage, cache)
        report.note(f"{title}: edgectl")
        own.append(wall_s(command))
        cached.append(wall_s(command))
        report.note(f"{title}: direct")
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
    report.say(f"    {title}: {statistics.median(ratios):.2f}× ({min(ratios):.2f} to {max(ratios):.2f})")
    report.say(f"        edgectl {Spread.of(own)}   direct {Spread.of(direct)}   cached {Spread.of(cached)}")


def prepare_direct(report: Report, path: Path, footage: Path | None) -> tuple[str, str]:
    """The exported graph, and what normalises footage for the direct script; empty without footage."""
    converted(path, "openvino", "fp32", report.note, footage)
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
