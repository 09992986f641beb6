"""edgectl's device path, in blocks: raw observation → program → actions.

`PYTHON edgectl_blocks.py RELEASE_DIR OBSERVATIONS.npz THREADS`: the executor that parity proves and the loop runs.
Prints `ready`, then answers each line `N` on standard input with a JSON list of the seconds of N inferences.
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


def main() -> None:
    """Answer each line `N` with the seconds of N inferences."""
    release_dir, observations, threads = sys.argv[1:]
    release = read_release(Path(release_dir))
    manifest = release.manifest
    loaded = load_components(release, import_runtimes(release, {}), int(threads))
    executor = Executor(manifest.policy, manifest.program, release.arrays, loaded.graphs, path_of=release.path, seed=0)
    names = [feature.name for feature in manifest.policy.observations]
    with np.load(observations) as file:
        recorded = {name: file[f"in.{name}"] for name in names}
    count = len(recorded[names[0]])
    done = 0
    print("ready", flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            observation = {name: values[done % count] for name, values in recorded.items()}
            started = time.perf_counter()
            executor.run(observation)
            seconds.append(time.perf_counter() - started)
            done += 1
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
