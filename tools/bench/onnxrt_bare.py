"""ONNX Runtime called bare in a tight loop: `PYTHON onnxrt_bare.py MODEL THREADS SECONDS` prints the median in ms."""

from __future__ import annotations

import sys
import time

import numpy as np
import onnxruntime


def main() -> None:
    """The median latency of session.run on one set of inputs."""
    model, threads, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds = {}
    for value in session.get_inputs():
        if value.type == "tensor(uint8)":
            feeds[value.name] = rng.integers(0, 256, value.shape, dtype=np.uint8)
        else:
            feeds[value.name] = rng.normal(size=value.shape).astype(np.float32)
    for _ in range(10):
        session.run(None, feeds)
    times = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        session.run(None, feeds)
        times.append(time.perf_counter() - started)
    print(f"{np.median(times) * 1e3:.4f}")


if __name__ == "__main__":
    main()
