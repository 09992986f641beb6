"""Write an ACT policy with seeded random weights, saved by LeRobot itself.

Runs in the lerobot toolchain: `PYTHON act_checkpoint.py OUT [small]`. Full size is 51.6 M parameters and two 480×640
cameras; small is a narrow one with 96×96 cameras and MIN_MAX state, for tests. Random weights are right for formats,
parity and latency; they say nothing about a task.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch


def main() -> None:
    """Save policy and processors to the folder named on the command line."""
    from edgectl_converters.toolchain_shim import declare_torchvision_operators

    declare_torchvision_operators()
    from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.factory import make_pre_post_processors

    out = Path(sys.argv[1])
    small = sys.argv[2:] == ["small"]
    height, width = (96, 96) if small else (480, 640)
    torch.manual_seed(0)
    cameras = ("observation.images.top", "observation.images.wrist")
    inputs = {name: PolicyFeature(FeatureType.VISUAL, (3, height, width)) for name in cameras}
    inputs["observation.state"] = PolicyFeature(FeatureType.STATE, (14,))
    outputs = {"action": PolicyFeature(FeatureType.ACTION, (14,))}
    narrow: dict = {"dim_model": 64, "n_heads": 2, "dim_feedforward": 128, "n_encoder_layers": 1} if small else {}
    if small:
        mean_std, min_max = NormalizationMode.MEAN_STD, NormalizationMode.MIN_MAX
        narrow["normalization_mapping"] = {"VISUAL": mean_std, "STATE": min_max, "ACTION": mean_std}
    config = ACTConfig(
        input_features=inputs,
        output_features=outputs,
        device="cpu",
        pretrained_backbone_weights=None,
        chunk_size=50,
        n_action_steps=50,
        **narrow,
    )
    policy = ACTPolicy(config).eval()
    before, after = make_pre_post_processors(config, dataset_stats=_statistics({**inputs, **outputs}))
    out.mkdir(parents=True, exist_ok=True)
    for part in (policy, before, after):
        part.save_pretrained(out)


def _statistics(features: dict) -> dict:
    rng = np.random.default_rng(0)
    stats = {}
    for name, feature in features.items():
        shape = (3, 1, 1) if len(feature.shape) == 3 else feature.shape
        mean = rng.uniform(0.3, 0.6, shape)
        std = rng.uniform(0.15, 0.4, shape)
        values = {"mean": mean, "std": std, "min": mean - 3 * std, "max": mean + 3 * std}
        stats[name] = {key: torch.tensor(value, dtype=torch.float32) for key, value in values.items()}
    return stats


if __name__ == "__main__":
    main()
