"""`make conformance`: operators one by one through edgectl's own conversion, beside the runtimes used bare.

First the backend node tests of the onnx package, each to each runtime bare, then through edgectl with the test's data
as golden data and without. Then small torch modules, exported as `.pt2`, with what eager torch makes of them as golden
data, to each runtime whose toolchain is made. Prints a table of each part and fails below the thresholds of table.py.
`--failures` writes what is not right, with its messages; `--record` keeps the figures in docs/conformance.json.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))

import trial  # noqa: E402
from bare import RUNTIMES  # noqa: E402
from cases import load_cases  # noqa: E402
from pool import Begin, run_trials  # noqa: E402
from table import failures, record, rows, shortcomings, table  # noqa: E402
from torch_modules import MODULE_RUNTIMES, begin, lacking, write_modules  # noqa: E402
from trial import Trial, Way  # noqa: E402

from edgectl_converters.targets.registry import target  # noqa: E402
from edgectl_converters.toolchain import Toolchains  # noqa: E402
from edgectl_host.config import HostConfig  # noqa: E402

WORK = ROOT / ".cache" / "conformance"
RECORD = ROOT / "docs" / "conformance.json"
_PARTS = ("onnx", "torch")
_NODE_RUNTIMES = ("onnxrt", "openvino")
"""Those that node tests go to unless others are named. The reference evaluator misses the thresholds: it takes
bfloat16, float8 and integers of 4 bits, which edgectl does not feed.
"""
_MODULES = "torch_modules"
_PACKAGES = ("onnx", "onnxruntime", "openvino", "numpy", "edgectl-agent")


def main() -> int:
    """Run all; the exit status says whether every threshold holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=_PARTS, help="node tests of the onnx package, or torch modules, only")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="whose name matches, such as 'test_conv*'")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="a sample of about one model in N")
    parser.add_argument("--limit", type=int, default=None, metavar="N", help="the first N models")
    parser.add_argument("--runtime", action="append", choices=sorted(MODULE_RUNTIMES), help="this one only")
    parser.add_argument("--limit-s", type=float, default=None, help="seconds after which a trial counts as hung")
    parser.add_argument("--failures", type=Path, metavar="FILE", help="write what is not right, with messages")
    parser.add_argument("--record", action="store_true", help="write docs/conformance.json")
    options = parser.parse_args()
    if options.record and (options.only, options.limit) != ("*", None):
        parser.error("--record keeps the figures of all models, or of a sample of them")

    WORK.mkdir(parents=True, exist_ok=True)
    (WORK / "runtimes.log").write_bytes(b"")
    if options.failures:
        options.failures.write_text("")
    parts = {"onnx": _node_tests, "torch": _torch_modules}
    short = [line for name in _PARTS if options.part in (None, name) for line in parts[name](options)]
    print("\n".join(short) or "every threshold holds for what was tried")
    return 1 if short else 0


def _node_tests(options: argparse.Namespace) -> list[str]:
    cases = load_cases(options.only, every=options.every)[: options.limit]
    runtimes = [name for name in sorted(RUNTIMES) if name in (options.runtime or _NODE_RUNTIMES)]
    trials = [Trial(case, runtime, way) for runtime in runtimes for case in range(len(cases)) for way in Way]
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return _tried("node tests", cases, trials, trial.begin, 60.0, options, versions)


def _torch_modules(options: argparse.Namespace) -> list[str]:
    config = HostConfig.from_environment(os.environ, uid=os.getuid())
    toolchains = Toolchains(config.cache_dir, config.config_dir)
    runtimes = []
    for name in options.runtime or MODULE_RUNTIMES:
        if missing := lacking(name, toolchains):
            print(f"{name}: left out, since the {missing} toolchain is not made: edgectl toolchain make {missing}")
        else:
            runtimes.append(name)
    if not runtimes:
        return []
    chain = toolchains.find("torch")
    with tempfile.TemporaryDirectory(prefix="edgectl-") as name:
        folder = Path(name)
        print("torch writes the modules …", flush=True)
        cases = write_modules(folder, options.only, options.every, runtimes, chain, WORK / "runtimes.log")
        cases = cases[: options.limit]
        trials = [
            Trial(case, runtime, way)
            for runtime in runtimes
            for case in range(len(cases))
            for way in (Way.BARE, Way.WITH_DATA)
        ]
        chains = [toolchains.find(target(runtime).toolchain) for runtime in runtimes]
        versions = {name: version for one in (*chains, chain) for name, version in one.versions.items()}
        return _tried(
            "torch modules", cases, trials, lambda: begin(folder / "cache", toolchains), 600.0, options, versions
        )


def _tried(
    what: str,
    cases: Sequence[Any],
    trials: Sequence[Trial],
    begin: Begin,
    limit_s: float,
    options: argparse.Namespace,
    versions: Mapping[str, str],
) -> list[str]:
    """Run them, say what came of it and keep it; what misses its threshold."""
    if not trials:
        print(f"no {what} of that name")
        return []
    log = WORK / "runtimes.log"
    started_s = time.monotonic()
    said_s = 0.0

    def progress(done: int) -> None:
        nonlocal said_s
        if time.monotonic() - said_s > 10 or done == len(trials):
            said_s = time.monotonic()
            print(f"{done} of {len(trials)} trials, {said_s - started_s:.0f} s", flush=True)

    runtimes = sorted({one.runtime for one in trials})
    print(f"{len(cases)} {what}, {', '.join(runtimes)}; what they print goes to {log}", flush=True)
    outcomes = run_trials(cases, trials, begin, limit_s=options.limit_s or limit_s, log=log, progress=progress)
    found, kinds = rows(cases, outcomes), failures(cases, outcomes)
    print(f"\n{table(found)}\n")
    if options.failures:
        with options.failures.open("a") as file:
            for (where, verdict, kind), those in kinds.items():
                file.write(f"\n{len(those):4}  {where}  {verdict}  {kind}\n")
                file.writelines(f"        {name}: {message}\n" for name, message in those)
    if options.record:
        kept = json.loads(RECORD.read_text()) if RECORD.exists() else {}
        document = record(found, len(cases), options.every, versions, kinds)
        merged = merge(kept, document, modules=what == "torch modules")
        RECORD.write_text(json.dumps(merged, indent=1, ensure_ascii=False) + "\n")
    return shortcomings(found)


def merge(kept: Mapping[str, Any], found: Mapping[str, Any], *, modules: bool) -> dict[str, Any]:
    """The record with what was found: one part of it stays, and so do runtimes that were not tried now, provided that
    they were tried on as many models.
    """
    before: Mapping[str, Any] = kept.get(_MODULES, {}) if modules else kept
    part = dict(found)
    if (before.get("models"), before.get("sample")) == (found["models"], found["sample"]):
        tried = {row["runtime"] for row in found["rows"]}
        others = [row for row in before["rows"] if row["runtime"] not in tried]
        part["rows"] = sorted([*others, *found["rows"]], key=lambda row: str(row["runtime"]))
        missed = [one for one in before["not_right"] if one["where"].split()[0] not in tried]
        part["not_right"] = sorted([*missed, *found["not_right"]], key=lambda one: str(one["where"]))
    if modules:
        return {**kept, _MODULES: part}
    return part | ({_MODULES: kept[_MODULES]} if _MODULES in kept else {})


if __name__ == "__main__":
    sys.exit(main())
