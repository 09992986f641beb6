"""edgectl's device path, in blocks: raw frames → normalise → model → un-normalise → actions.

`PYTHON edgectl_blocks.py RELEASE_DIR OBSERVATIONS.npz THREADS`: the code that parity proves and the loop runs.
Prints `ready`, then answers each line `N` on standard input with a JSON list of the seconds of N inferences.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from edgectl_agent.worker.pipeline import Pipeline
from edgectl_agent.worker.release import read_release
from edgectl_agent.worker.runtimes.registry import create


def main() -> None:
    """Answer each line `N` with the seconds of N inferences."""
    release_dir, observations, threads = sys.argv[1:]
    release = read_release(Path(release_dir))
    runtime = create(release.component.runtime)
    runtime.load(release.path(release.component.artifact), release.component, int(threads))
    pipeline = Pipeline(release, runtime)
    with np.load(observations) as file:
        frames = {name[3:]: file[name] for name in file.files if name.startswith("in.")}
    count = len(next(iter(frames.values())))
    done = 0
    print("ready", flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            observation = {name: values[done % count] for name, values in frames.items()}
            started = time.perf_counter()
            pipeline.unnormalise(pipeline.infer(pipeline.normalise(observation)))
            seconds.append(time.perf_counter() - started)
            done += 1
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
