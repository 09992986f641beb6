"""edgectl's decoding, in blocks: prompt → tokens, by the executor that parity proves and the loop runs.

`PYTHON token_blocks.py RELEASE_DIR THREADS`, in the Python that holds the runtime. Prints `ready`, then answers each
line `N` on standard input with a JSON list of the seconds that a decoded token took in each of N answers.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from edgectl_agent.worker.components import import_runtimes, load_components
from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.release import read_release
from edgectl_agent.worker.spans import SpanTable


def main() -> None:
    """Answer each line `N` with the seconds a token of N answers took."""
    release = read_release(Path(sys.argv[1]))
    manifest = release.manifest
    loaded = load_components(release, import_runtimes(release, {}), int(sys.argv[2]))
    executor = Executor(
        manifest.policy,
        manifest.program,
        release.arrays,
        loaded.graphs,
        path_of=release.path,
        generators=loaded.generators,
    )
    golden = release.golden()
    observation = {feature.name: golden[f"in.{feature.name}"][0] for feature in manifest.policy.observations}
    spans = SpanTable(executor.sites, executor.spans_per_run + 8, time.perf_counter_ns)
    tokens = [index for index, site in enumerate(executor.sites) if site.op == "token"]
    print("ready", flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            spans.clear()
            spans.start()
            executor.run(observation, spans)
            rows = spans.rows[np.isin(spans.rows[:, 1], tokens)]
            seconds.append(float((rows[:, 3] - rows[:, 2]).sum()) / 1e9 / len(rows))
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
