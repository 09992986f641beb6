"""LeRobot's own eager loop, in blocks: raw frames → pre-processor → policy → post-processor → actions.

Runs in a LeRobot toolchain: `PYTHON lerobot_blocks.py POLICY CHECKPOINT OBSERVATIONS.npz THREADS`. Protocol as in
edgectl_blocks.py. A policy that remembers observations has them in its queues already, as after the first tick.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

import numpy as np
import torch

CLASSES = {"act": "ACTPolicy", "diffusion": "DiffusionPolicy", "smolvla": "SmolVLAPolicy"}


def main() -> None:
    """Answer each line `N` with the seconds of N inferences."""
    from edgectl_converters.toolchain_shim import declare_torchvision_operators

    declare_torchvision_operators()
    from lerobot.policies.factory import make_pre_post_processors

    kind, checkpoint, observations, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    module = importlib.import_module(f"lerobot.policies.{kind}.modeling_{kind}")
    policy = getattr(module, CLASSES[kind]).from_pretrained(checkpoint).eval()
    before, after = make_pre_post_processors(policy.config, pretrained_path=checkpoint)
    with np.load(observations) as file:
        names = [*policy.config.input_features, "task"]
        recorded = {name: file[f"in.{name}"] for name in names if f"in.{name}" in file.files}
    count = len(next(iter(recorded.values())))
    history = getattr(policy.config, "n_obs_steps", 1)
    done = 0
    print("ready", flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            observation = {name: values[done % count] for name, values in recorded.items()}
            started = time.perf_counter()
            infer(policy, before, after, observation, history)
            seconds.append(time.perf_counter() - started)
            done += 1
        print(json.dumps(seconds), flush=True)


def infer(policy: Any, before: Any, after: Any, observation: dict[str, Any], history: int) -> None:
    """One inference as LeRobot's `select_action` does it when its queue of actions is empty."""
    batch = before(_batch(observation, history - 1 if history > 1 else -1))
    with torch.inference_mode():
        if history > 1:
            # Its queues of observations hold what the call before left.
            policy._queues["action"].clear()
            after(policy.select_action(batch)).numpy()
        else:
            after(policy.predict_action_chunk(batch)).numpy()


def _batch(observation: dict[str, Any], step: int) -> dict[str, Any]:
    """The caller's part in LeRobot: bytes to 0..1, HWC to CHW, a batch dimension."""
    batch: dict[str, Any] = {}
    for name, value in observation.items():
        if value.dtype.kind == "U":
            batch[name] = str(value)
            continue
        tensor = torch.from_numpy(value if step < 0 else value[step])
        if tensor.dtype == torch.uint8:
            tensor = (tensor.type(torch.float32) / 255).permute(2, 0, 1).contiguous()
        batch[name] = tensor.unsqueeze(0)
    return batch


if __name__ == "__main__":
    main()
