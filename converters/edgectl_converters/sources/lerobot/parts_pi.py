"""π0 and π0.5 cut at their KV cache: `vision` for each camera, `prefix` once, `step` at every denoising step.

Runs inside a LeRobot 0.6 toolchain. Facts: the cache is transformers' DynamicCache of [1, heads, n, width], cloned by
LeRobot before each step; π0's state enters at the step, π0.5's as words of the prompt. The time embedding is an input,
made by LeRobot's own function in float64, as for SmolVLA.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from edgectl_converters.sources.lerobot.card import Checkpoint
from edgectl_converters.sources.lerobot.flow_parts import Flow, flow_split, tokens_of
from edgectl_converters.sources.lerobot.loading import Loaded
from edgectl_converters.sources.lerobot.parts import Split, patched

__all__ = ["split"]


@contextmanager
def split(loaded: Loaded, checkpoint: Checkpoint, batches: list[dict[str, Any]], pad_id: int) -> Iterator[Split]:
    """The parts, LeRobot's code changed for them while they are in use."""
    import torch

    policy, model = loaded.policy, loaded.policy.model
    kind, config, tower = checkpoint.config.type, model.config, model.paligemma_with_expert
    transformers = importlib.import_module("transformers")
    modeling = importlib.import_module(f"lerobot.policies.{kind}.modeling_{kind}")
    prompting = checkpoint.processing.prompting
    assert prompting is not None
    with_state = kind == "pi0"
    batch = batches[-1]

    def sample(images: list[Any], masks: list[Any], ids: Any, token_mask: Any, state: Any) -> Any:
        noise = torch.zeros(1, config.chunk_size, config.max_action_dim)
        states = (state,) if with_state else ()
        return model.sample_actions(images, masks, ids, token_mask, *states, noise=noise, num_steps=1)

    def step(sample: Any, time: Any, pad: Any, *rest: Any) -> Any:
        cache = transformers.DynamicCache()
        tensors = rest[-1]
        for index in range(len(tensors) // 2):
            cache.update(tensors[f"k{index}"], tensors[f"v{index}"], index)
        states = {"state": rest[0]} if with_state else {}
        return model.denoise_step(prefix_pad_masks=pad, past_key_values=cache, x_t=sample, timestep=time, **states)

    def cache_of(cache: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for index, layer in enumerate(cache.layers):
            found |= {f"k{index}": layer.keys, f"v{index}": layer.values}
        return found

    time = _time_table(modeling, model, config)
    with patched(modeling, create_sinusoidal_pos_embedding=lambda time, *_, **__: time), torch.no_grad():
        images, _ = policy._preprocess_images(batch)
        flow = Flow(
            embed=tower.embed_image,
            sample=sample,
            step=step,
            cache=cache_of,
            time=time,
            steps=config.num_inference_steps,
            chunk=config.chunk_size,
            width=config.max_action_dim,
            state=policy.prepare_state(batch) if with_state else None,
            state_in="step" if with_state else "",
            prefix_within=lambda: patched(tower, embed_image=lambda features: features),
            step_within=nullcontext,
        )
        yield flow_split(loaded, checkpoint, flow, images, tokens_of(batch, prompting.length, pad_id))


def _time_table(modeling: Any, model: Any, config: Any) -> Any:
    """Rows of LeRobot's time embedding, [steps, width] in float32."""
    import torch

    steps = config.num_inference_steps
    times = torch.tensor([1.0 + step * (-1.0 / steps) for step in range(steps)], dtype=torch.float32)
    rows = modeling.create_sinusoidal_pos_embedding(
        times,
        model.action_in_proj.out_features,
        min_period=config.min_period,
        max_period=config.max_period,
        device=times.device,
    )
    return rows.to(torch.float32)
