"""Trains LeRobot's own ACT policy on the expert's demonstrations and saves it as a LeRobot directory.

    MUJOCO_GL=osmesa python train.py --cache CACHE --out policy

Demonstrations go to CACHE and are used again if they are there. The schedule counts steps, not seconds, so a
busy machine is only slower. The weights are saved as float16 to halve the file; LeRobot loads them into a
float32 model.
"""

import argparse
import copy
import math
import pathlib
import time

import demonstrations
import numpy as np
import torch
import torchvision_shim  # noqa: F401  (before anything that imports torchvision)
from demonstrations import Demonstrations
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
from lerobot.processor import PolicyProcessorPipeline
from sim import ACTION_SIZE, CAMERAS, IMAGE_SIZE_PX, STATE_SIZE
from torchvision.ops.misc import FrozenBatchNorm2d

BATCH_SIZE = 16
LEARNING_RATE = 3e-4
WEIGHT_DECAY = 1e-4
WARM_UP_STEPS = 100
FINAL_RATE = 0.02
HELD_OUT_EPISODES = 10
SNAPSHOT_EVERY_STEPS = 250

Trainee = tuple[ACTPolicy, tuple[PolicyProcessorPipeline, PolicyProcessorPipeline]]


def make_config() -> ACTConfig:
    """A small ACT that asks for a new chunk every tick."""
    inputs = {
        f"observation.images.{camera}": PolicyFeature(FeatureType.VISUAL, (3, IMAGE_SIZE_PX, IMAGE_SIZE_PX))
        for camera in CAMERAS
    }
    inputs["observation.state"] = PolicyFeature(FeatureType.STATE, (STATE_SIZE,))
    return ACTConfig(
        input_features=inputs,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (ACTION_SIZE,))},
        device="cpu",
        push_to_hub=False,
        pretrained_backbone_weights=None,
        chunk_size=24,
        n_action_steps=1,
        dim_model=128,
        n_heads=4,
        dim_feedforward=256,
        n_encoder_layers=2,
        use_vae=False,
        dropout=0.0,
        optimizer_lr=LEARNING_RATE,
        optimizer_lr_backbone=LEARNING_RATE,
        optimizer_weight_decay=WEIGHT_DECAY,
    )


def statistics(demos: Demonstrations, frames: np.ndarray) -> dict[str, dict[str, torch.Tensor]]:
    """Mean, standard deviation and range of every feature, pictures per channel on a scale of 0 to 1."""
    stats = {}
    for name, values in demos.features.items():
        if values.ndim == 4:
            # Every eighth frame: neighbours are nearly the same picture.
            columns = values[frames[::8]].reshape(-1, 3).astype(np.float32) / 255.0
            shape = (3, 1, 1)
        else:
            columns, shape = values[frames], values.shape[1:]
        found = {
            "mean": columns.mean(axis=0, dtype=np.float64),
            "std": columns.std(axis=0, dtype=np.float64),
            "min": columns.min(axis=0),
            "max": columns.max(axis=0),
        }
        stats[name] = {rule: torch.tensor(value, dtype=torch.float32).reshape(shape) for rule, value in found.items()}
    return stats


def batch_of(demos: Demonstrations, frames: np.ndarray, chunk_size: int) -> dict[str, torch.Tensor]:
    """The frames as LeRobot's training batch, each with the actions that follow it in its episode."""
    wanted = frames[:, None] + np.arange(chunk_size)
    last = demos.last_frames[frames][:, None]
    batch = {"action_is_pad": torch.from_numpy(wanted > last)}
    batch["action"] = torch.from_numpy(demos.features["action"][np.minimum(wanted, last)])
    batch["observation.state"] = torch.from_numpy(demos.features["observation.state"][frames])
    for camera in CAMERAS:
        pictures = torch.from_numpy(demos.features[f"observation.images.{camera}"][frames])
        batch[f"observation.images.{camera}"] = pictures.permute(0, 3, 1, 2).float() / 255.0
    return batch


def beyond_horizon(rng: np.random.Generator, batch_size: int, chunk_size: int) -> torch.Tensor:
    """True for the actions to leave out of the loss, bool [batch, chunk].

    The cart's future is partly chance, so late actions are mostly noise to learn from, and there are many of
    them. Each sample is cut at a log-uniform horizon: the first action always counts, the last in a fifth.
    """
    horizon = chunk_size ** rng.uniform(0.0, 1.25, size=(batch_size, 1))
    return torch.from_numpy(np.arange(chunk_size) >= horizon)


def set_frozen_norms(policy: ACTPolicy, batch: dict[str, torch.Tensor]) -> None:
    """Give the backbone's frozen batch norms the statistics of one normalised batch.

    They never learn, and without pretrained weights they would stay the identity.
    """

    def fit(norm: FrozenBatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        norm.running_mean.copy_(inputs[0].mean(dim=(0, 2, 3)))
        norm.running_var.copy_(inputs[0].var(dim=(0, 2, 3)))

    norms = [module for module in policy.modules() if isinstance(module, FrozenBatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(fit) for norm in norms]
    with torch.no_grad():
        policy.model.backbone(torch.cat([batch[name] for name in policy.config.image_features]))
    for hook in hooks:
        hook.remove()


def rate_at(step: int, steps: int) -> float:
    """The learning rate's factor: a linear warm-up, then a cosine."""
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    progress = (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)
    return FINAL_RATE + (1.0 - FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * progress))


def save(policy: ACTPolicy, processors: tuple[PolicyProcessorPipeline, ...], folder: pathlib.Path) -> None:
    """Write the LeRobot directory, weights as float16."""
    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(policy).to(memory_format=torch.contiguous_format).half().save_pretrained(folder)
    for processor in processors:
        processor.save_pretrained(folder)


def new_policy(demos: Demonstrations, frames: np.ndarray, rng: np.random.Generator) -> Trainee:
    """An untrained policy with its processors, both fitted to the statistics of the demonstrations."""
    policy = ACTPolicy(make_config())
    processors = make_pre_post_processors(policy.config, dataset_stats=statistics(demos, frames))
    sample = batch_of(demos, rng.choice(frames, 64, replace=False), policy.config.chunk_size)
    set_frozen_norms(policy, processors[0](sample))
    return policy, processors


def saved_policy(folder: pathlib.Path) -> Trainee:
    """A policy to train further, with the processors it was saved with."""
    policy = ACTPolicy.from_pretrained(folder)
    return policy, make_pre_post_processors(policy.config, pretrained_path=str(folder))


def train(demos: Demonstrations, args: argparse.Namespace) -> None:
    """Run the whole schedule and save to `args.out`; now and then to `args.snapshot` as well."""
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    held_out = demos.held_out(HELD_OUT_EPISODES)
    frames, test_frames = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    policy, processors = saved_policy(args.start) if args.start else new_policy(demos, frames, rng)
    config, preprocess, steps = policy.config, processors[0], args.steps
    policy.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, steps))

    epochs = math.ceil(steps * BATCH_SIZE / len(frames))
    order = np.concatenate([rng.permutation(frames) for _ in range(epochs)])
    started_s, losses = time.monotonic(), []
    for step in range(1, steps + 1):
        batch = batch_of(demos, order[(step - 1) * BATCH_SIZE : step * BATCH_SIZE], config.chunk_size)
        batch["action_is_pad"] |= beyond_horizon(rng, BATCH_SIZE, config.chunk_size)
        policy.train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, _ = policy.forward(preprocess(batch))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if step % SNAPSHOT_EVERY_STEPS == 0 or step == steps:
            policy.eval()
            with torch.no_grad():
                test = preprocess(batch_of(demos, test_frames[::4], config.chunk_size))
                test_loss = float(policy.forward(test)[0])
            recent = float(np.mean(losses[-200:]))
            elapsed_s = time.monotonic() - started_s
            print(f"step {step} L1 {recent:.3f} held out {test_loss:.3f} after {elapsed_s:.0f} s", flush=True)
            if args.snapshot is not None:
                save(policy, processors, args.snapshot)
    save(policy, processors, args.out)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--cache", type=pathlib.Path, required=True, help="folder of demonstrations (1.5 GB)")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="LeRobot directory to write")
    parser.add_argument("--start", type=pathlib.Path, help="LeRobot directory to train further")
    parser.add_argument("--snapshot", type=pathlib.Path, help="LeRobot directory to write every 250 steps")
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--steps", type=int, default=2200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not (args.cache / "episode.npy").exists():
        demonstrations.record(args.cache, args.episodes)
    demos = demonstrations.load(args.cache)
    print(f"{len(demos.episode)} frames in {demos.episode[-1] + 1} episodes", flush=True)
    train(demos, args)


if __name__ == "__main__":
    main()
