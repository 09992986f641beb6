"""Genuine LeRobot policies with small nets and seeded random weights: `PYTHON lerobot_policies.py KIND FOLDER`.

Runs inside a LeRobot toolchain, with edgectl's own packages on its path. LeRobot builds and saves everything; only
sizes are cut. π's sizes cannot be set in its config: `PI_PLUGIN` is the package of a team that patched its LeRobot.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

KINDS_04 = ("act", "act-ensemble", "diffusion", "diffusion-ddpm", "smolvla")
KINDS_06 = ("smolvla-empty", "pi0", "pi05")

PI_PLUGIN = """
import importlib

import transformers

for kind in ("pi0", "pi05"):
    modeling = importlib.import_module(f"lerobot.policies.{kind}.modeling_{kind}")
    sizes = {"gemma_2b": (64, 2, 128, 4, 1, 16), "gemma_300m": (32, 2, 64, 4, 1, 16)}
    modeling.get_gemma_config = lambda variant, new=modeling.GemmaConfig: new(*sizes[variant])
    full = modeling.PaliGemmaForConditionalGenerationWithPiGemma

    def small(config, full=full):
        config.vision_config.projection_dim = config.text_config.hidden_size
        config.text_config.vocab_size = config._vocab_size = 256
        return full(config=config)

    modeling.PaliGemmaForConditionalGenerationWithPiGemma = small

siglip = transformers.SiglipVisionConfig
original = siglip.__init__


def cut(self, *arguments, **options):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}
    original(self, *arguments, **options | sizes)


siglip.__init__ = cut
"""


def write_plugin(folder: Path) -> None:
    """An installed package as LeRobot looks for them: called lerobot_policy_*."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lerobot_policy_cut.py").write_text(PI_PLUGIN)
    about = folder / "lerobot_policy_cut-1.0.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lerobot_policy_cut\nVersion: 1.0\n")


def _save(kind: str, out: Path) -> None:
    import torch

    from edgectl_converters.toolchain_shim import declare_torchvision_operators

    declare_torchvision_operators()
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.factory import make_pre_post_processors
    from lerobot.utils.import_utils import register_third_party_plugins

    register_third_party_plugins()
    torch.manual_seed(0)
    out.mkdir(parents=True, exist_ok=True)
    inputs = {f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, 64, 96)) for name in ("top", "wrist")}
    inputs["observation.state"] = PolicyFeature(FeatureType.STATE, (7,))
    outputs = {"action": PolicyFeature(FeatureType.ACTION, (5,))}
    name, _, variant = kind.partition("-")
    if variant == "env":
        inputs = {
            "observation.state": inputs["observation.state"],
            "observation.environment_state": PolicyFeature(FeatureType.ENV, (4,)),
        }
    options: dict[str, Any] = {"input_features": dict(inputs), "output_features": outputs, "device": "cpu"}
    if name != "act" and name != "diffusion":
        _tokenizer(out / "tokenizer")
    config, policy = _BUILDERS.get(name, _pi)(name, variant, out, options)
    policy.eval()
    before, after = _with_tokenizer(
        out, lambda: make_pre_post_processors(config, dataset_stats=_stats(inputs, outputs))
    )
    for part in (policy, before, after):
        part.save_pretrained(out)


def _act(name: str, variant: str, out: Path, options: dict[str, Any]) -> tuple[Any, Any]:
    sizes = {"dim_model": 64, "n_heads": 4, "dim_feedforward": 128, "n_encoder_layers": 2}
    chunk: dict[str, Any] = {"chunk_size": 12, "n_action_steps": 12, "pretrained_backbone_weights": None}
    if variant == "ensemble":
        chunk |= {"temporal_ensemble_coeff": 0.01, "n_action_steps": 1}
    return _made(name, "ACT", options | sizes | chunk)


def _diffusion(name: str, variant: str, out: Path, options: dict[str, Any]) -> tuple[Any, Any]:
    sizes: dict[str, Any] = {"down_dims": (32, 64, 128), "crop_shape": (56, 80), "pretrained_backbone_weights": None}
    scheduler = {"noise_scheduler_type": "DDIM", "num_inference_steps": 10}
    if variant == "ddpm":
        scheduler = {"noise_scheduler_type": "DDPM", "num_inference_steps": 20}
    if variant == "sample":
        sizes |= {"prediction_type": "sample"}
    return _made(name, "Diffusion", options | sizes | scheduler)


def _smolvla(name: str, variant: str, out: Path, options: dict[str, Any]) -> tuple[Any, Any]:
    vlm = out / "vlm"
    _small_vlm(vlm, out / "tokenizer")
    sizes: dict[str, Any] = {"chunk_size": 10, "n_action_steps": 10, "num_vlm_layers": 4, "num_steps": 5}
    sizes |= {"resize_imgs_with_padding": (64, 64), "vlm_model_name": str(vlm), "load_vlm_weights": False}
    if variant == "empty":
        sizes |= {"empty_cameras": 1}
    return _made(name, "SmolVLA", options | sizes)


def _pi(name: str, variant: str, out: Path, options: dict[str, Any]) -> tuple[Any, Any]:
    sizes = {"chunk_size": 10, "n_action_steps": 10, "dtype": "float32", "num_inference_steps": 5}
    return _made(name, name.upper(), options | sizes)


_BUILDERS = {"act": _act, "diffusion": _diffusion, "smolvla": _smolvla}


def _made(name: str, prefix: str, options: dict[str, Any]) -> tuple[Any, Any]:
    configuration = importlib.import_module(f"lerobot.policies.{name}.configuration_{name}")
    modeling = importlib.import_module(f"lerobot.policies.{name}.modeling_{name}")
    config = getattr(configuration, f"{prefix}Config")(**options)
    return config, getattr(modeling, f"{prefix}Policy")(config)


def _stats(inputs: Any, outputs: Any) -> dict[str, Any]:
    import torch

    generator = torch.Generator().manual_seed(1)
    found = {}
    for name, feature in {**inputs, **outputs}.items():
        shape = (3, 1, 1) if len(feature.shape) == 3 else feature.shape
        low, high = -torch.rand(shape, generator=generator) - 0.5, torch.rand(shape, generator=generator) + 0.5
        found[name] = {"min": low, "max": high, "mean": (low + high) / 3, "std": (high - low) / 4}
        found[name] |= {"q01": low * 0.9, "q99": high * 0.9}
    return found


def _with_tokenizer(out: Path, make: Any) -> Any:
    """LeRobot names tokenizers of a hub; here they are the checkpoint's own folder."""
    if not (out / "tokenizer").exists():
        return make()
    transformers = importlib.import_module("transformers")
    load = transformers.AutoTokenizer.from_pretrained
    transformers.AutoTokenizer.from_pretrained = lambda *_, **options: load(str(out / "tokenizer"), **options)
    try:
        return make()
    finally:
        transformers.AutoTokenizer.from_pretrained = load


def _tokenizer(folder: Path) -> None:
    tokenizers = importlib.import_module("tokenizers")
    transformers = importlib.import_module("transformers")
    special = ["<pad>", "<eos>", "<bos>", "<image>", "<fake_token_around_image>", "<global-img>"]
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    model.train_from_iterator([], tokenizers.trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet))
    names = {"fake_image_token": special[4], "global_image_token": special[5], "image_token": special[3]}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=model,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        extra_special_tokens=names | {"end_of_utterance_token": "<eos>"},
    ).save_pretrained(folder)


def _small_vlm(folder: Path, tokenizer: Path) -> None:
    transformers = importlib.import_module("transformers")
    text = {"model_type": "llama", "hidden_size": 96, "intermediate_size": 128, "num_hidden_layers": 4}
    text |= {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 320}
    vision = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision |= {"image_size": 64, "patch_size": 16}
    config = transformers.SmolVLMConfig(text_config=text, vision_config=vision, scale_factor=2, image_token_id=3)
    config.save_pretrained(folder)
    words = transformers.AutoTokenizer.from_pretrained(str(tokenizer))
    images = transformers.SmolVLMImageProcessor()
    transformers.SmolVLMProcessor(images, words, transformers.SmolVLMVideoProcessor()).save_pretrained(folder)
    words.save_pretrained(folder)
    images.save_pretrained(folder)


if __name__ == "__main__":
    _save(sys.argv[1], Path(sys.argv[2]))
