"""LeRobot's own eager loop, in blocks: raw frames → pre-processor → policy → post-processor → actions.

Runs in the lerobot toolchain: `PYTHON lerobot_blocks.py CHECKPOINT OBSERVATIONS.npz THREADS`. Protocol as in
edgectl_blocks.py.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch


def main() -> None:
    """Answer each line `N` with the seconds of N inferences."""
    from edgectl_converters.toolchain_shim import declare_torchvision_operators

    declare_torchvision_operators()
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.factory import make_pre_post_processors

    checkpoint, observations, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    policy = ACTPolicy.from_pretrained(checkpoint).eval()
    before, after = make_pre_post_processors(policy.config, pretrained_path=checkpoint)
    with np.load(observations) as file:
        frames = {name[3:]: file[name] for name in file.files if name.startswith("in.")}
    count = len(next(iter(frames.values())))
    done = 0
    print("ready", flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            started = time.perf_counter()
            observation = {}
            # The caller's part in LeRobot: bytes to 0..1, HWC to CHW, a batch dimension.
            for name, values in frames.items():
                tensor = torch.from_numpy(values[done % count])
                if tensor.dtype == torch.uint8:
                    tensor = (tensor.type(torch.float32) / 255).permute(2, 0, 1).contiguous()
                observation[name] = tensor.unsqueeze(0)
            with torch.inference_mode():
                actions = after(policy.predict_action_chunk(before(observation)))
            actions.numpy()
            seconds.append(time.perf_counter() - started)
            done += 1
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
