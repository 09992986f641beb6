"""Write a LeRobot policy of full size with seeded random weights, saved by LeRobot itself.

Runs in a LeRobot toolchain: `PYTHON lerobot_checkpoint.py POLICY OUT`. Architecture, processors and file formats are
the real ones, the weights are not: right for latency and parity, they say nothing about a task.

    act        51.6 M parameters, two 480×640 cameras
    diffusion  two 96×96 cameras, DDIM, 10 steps
    smolvla    96.8 M parameters, one 480×640 camera, four layers
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch


def main() -> None:
    """Save policy and processors to the folder named on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("policy", choices=sorted(_POLICIES))
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    _declare_torchvision_operators()
    torch.manual_seed(0)
    arguments.out.mkdir(parents=True, exist_ok=True)
    policy = _POLICIES[arguments.policy](arguments.out).eval()
    from lerobot.policies.factory import make_pre_post_processors

    config = policy.config
    stats = _statistics({**config.input_features, **config.output_features})
    before, after = make_pre_post_processors(config, dataset_stats=stats)
    for part in (policy, before, after):
        part.save_pretrained(arguments.out)


def _declare_torchvision_operators() -> None:
    from edgectl_converters.toolchain_shim import declare_torchvision_operators

    declare_torchvision_operators()


def _features(cameras: tuple[str, ...], height: int, width: int, state: int, action: int) -> dict[str, Any]:
    from lerobot.configs.types import FeatureType, PolicyFeature

    frames = {f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, height, width)) for name in cameras}
    return {
        "input_features": {**frames, "observation.state": PolicyFeature(FeatureType.STATE, (state,))},
        "output_features": {"action": PolicyFeature(FeatureType.ACTION, (action,))},
        "device": "cpu",
    }


def _act(out: Path) -> Any:
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy

    chunk = {"pretrained_backbone_weights": None, "chunk_size": 50, "n_action_steps": 50}
    return ACTPolicy(ACTConfig(**_features(("top", "wrist"), 480, 640, 14, 14), **chunk))


def _diffusion(out: Path) -> Any:
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy

    config = DiffusionConfig(
        **_features(("top", "wrist"), 96, 96, 14, 14),
        pretrained_backbone_weights=None,
        crop_shape=(84, 84),
        down_dims=(64, 128, 256),
        noise_scheduler_type="DDIM",
        num_inference_steps=10,
    )
    return DiffusionPolicy(config)


def _smolvla(out: Path) -> Any:
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy

    folder = out / "vlm"
    _write_vlm(folder)
    config = SmolVLAConfig(
        **_features(("top",), 480, 640, 14, 14),
        vlm_model_name=str(folder),
        load_vlm_weights=False,
        chunk_size=50,
        n_action_steps=50,
        num_vlm_layers=4,
    )
    return SmolVLAPolicy(config)


def _write_vlm(folder: Path) -> None:
    """A SmolVLM of our own: config, processors, and a byte-level tokenizer trained on three sentences."""
    from transformers import SmolVLMConfig, SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<fake_token_around_image>", "<global-img>"]
    tokenizer = _tokenizer(
        special,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        extra_special_tokens={
            "fake_image_token": "<fake_token_around_image>",
            "global_image_token": "<global-img>",
            "image_token": "<image>",
            "end_of_utterance_token": "<|im_end|>",
        },
    )
    text = {
        "model_type": "llama",
        "hidden_size": 960,
        "intermediate_size": 2560,
        "num_hidden_layers": 4,
        "num_attention_heads": 15,
        "num_key_value_heads": 5,
        "head_dim": 64,
        "vocab_size": 2048,
        "max_position_embeddings": 8192,
        "rope_theta": 100000,
        "rms_norm_eps": 1e-5,
    }
    vision = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 2,
        "num_attention_heads": 12,
        "image_size": 512,
        "patch_size": 16,
    }
    SmolVLMConfig(text_config=text, vision_config=vision, scale_factor=4, image_token_id=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    images = SmolVLMImageProcessor()
    images.save_pretrained(folder)
    SmolVLMProcessor(images, tokenizer, SmolVLMVideoProcessor()).save_pretrained(folder)


def _tokenizer(special: list[str], **tokens: Any) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=special, initial_alphabet=alphabet)
    sentences = [
        "put the cup on the plate",
        "close the lid of the box",
        "Task: wipe the table, State: 3 141 59;\nAction: ",
    ]
    model.train_from_iterator(sentences * 60, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=model, **tokens)


def _statistics(features: dict[str, Any]) -> dict[str, Any]:
    """Statistics that are far from 0 and 1, so that a skipped normalisation shows."""
    rng = np.random.default_rng(0)
    stats = {}
    for name, feature in features.items():
        shape = (3, 1, 1) if len(feature.shape) == 3 else feature.shape
        mean = rng.uniform(0.3, 0.6, shape)
        std = rng.uniform(0.15, 0.4, shape)
        values = {"mean": mean, "std": std, "min": mean - 3 * std, "max": mean + 3 * std}
        values |= {"q01": mean - 2 * std, "q99": mean + 2 * std}
        stats[name] = {key: torch.tensor(value, dtype=torch.float32) for key, value in values.items()}
    return stats


_POLICIES = {"act": _act, "diffusion": _diffusion, "smolvla": _smolvla}

if __name__ == "__main__":
    main()
