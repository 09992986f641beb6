"""`make conformance`: the backend node tests of the onnx package through edgectl's own conversion.

Each model goes to each runtime bare, then through edgectl with the test's data as golden data and without. Prints a
table and fails below the thresholds of table.py. `--failures` writes what is not right, with its messages; `--record`
keeps the figures in docs/conformance.json.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from bare import RUNTIMES  # noqa: E402
from cases import load_cases  # noqa: E402
from pool import run_trials  # noqa: E402
from table import failures, record, rows, shortcomings, table  # noqa: E402
from trial import Trial, Way  # noqa: E402

WORK = ROOT / ".cache" / "conformance"
_PACKAGES = ("onnx", "onnxruntime", "openvino", "numpy", "edgectl-agent")


def main() -> int:
    """Run all; the exit status says whether every threshold holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", metavar="PATTERN", help="whose name matches, such as 'test_conv*'")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="a sample of about one model in N")
    parser.add_argument("--limit", type=int, default=None, metavar="N", help="the first N models")
    parser.add_argument("--runtime", action="append", choices=sorted(RUNTIMES), help="this one only")
    parser.add_argument("--limit-s", type=float, default=60.0, help="seconds after which a trial counts as hung")
    parser.add_argument("--failures", type=Path, metavar="FILE", help="write what is not right, with messages")
    parser.add_argument("--record", action="store_true", help="write docs/conformance.json")
    options = parser.parse_args()
    fair = (options.only, options.limit, options.runtime) == ("*", None, None)
    if options.record and not fair:
        parser.error("--record keeps the figures of all models, or of a sample of them, on all runtimes")

    WORK.mkdir(parents=True, exist_ok=True)
    log = WORK / "runtimes.log"
    log.write_bytes(b"")
    cases = load_cases(options.only, every=options.every)[: options.limit]
    runtimes = options.runtime or sorted(RUNTIMES)
    trials = [Trial(case, runtime, way) for runtime in runtimes for case in range(len(cases)) for way in Way]
    started_s = time.monotonic()
    said_s = 0.0

    def progress(done: int) -> None:
        nonlocal said_s
        if time.monotonic() - said_s > 10 or done == len(trials):
            said_s = time.monotonic()
            print(f"{done} of {len(trials)} trials, {said_s - started_s:.0f} s", flush=True)

    print(f"{len(cases)} models, {', '.join(runtimes)}; what they print goes to {log}", flush=True)
    outcomes = run_trials(cases, trials, limit_s=options.limit_s, log=log, progress=progress)
    found, kinds = rows(cases, outcomes), failures(cases, outcomes)
    print(f"\n{table(found)}\n")
    if options.failures:
        lines = []
        for (where, what, kind), those in kinds.items():
            lines.append(f"\n{len(those):4}  {where}  {what}  {kind}")
            lines += [f"        {name}: {message}" for name, message in those]
        options.failures.write_text("\n".join(lines) + "\n")
    if options.record:
        versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
        document = record(found, len(cases), options.every, versions, kinds)
        (ROOT / "docs" / "conformance.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    short = shortcomings(found)
    print("\n".join(short) or "every threshold holds")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
