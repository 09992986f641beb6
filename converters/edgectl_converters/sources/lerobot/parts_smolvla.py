"""SmolVLA cut at its KV cache: `vision` for each camera, `prefix` once, `step` at every denoising step.

Runs inside a LeRobot toolchain. Facts: LeRobot 0.4 keeps the cache as a dictionary of [1, n, heads, width], 0.6 as
transformers' DynamicCache of [1, heads, n, width], and crops it after each step; the state is the prefix's last token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from edgectl_converters.sources.lerobot.card import Checkpoint
from edgectl_converters.sources.lerobot.flow_parts import Flow, flow_split, tokens_of
from edgectl_converters.sources.lerobot.loading import Loaded
from edgectl_converters.sources.lerobot.parts import Split, patched
from edgectl_converters.sources.lerobot.smolvla_patches import (
    cross_layers,
    faster_graphs,
    identity_projections,
    time_table,
)

__all__ = ["split"]


@contextmanager
def split(loaded: Loaded, checkpoint: Checkpoint, batches: list[dict[str, Any]], pad_id: int) -> Iterator[Split]:
    """The parts, LeRobot's code changed for them while they are in use."""
    import torch

    policy, model = loaded.policy, loaded.policy.model
    config, tower = model.config, model.vlm_with_expert
    time = time_table(model, config.num_steps)
    prompting = checkpoint.processing.prompting
    assert prompting is not None
    cross = cross_layers(model)

    def sample(images: list[Any], masks: list[Any], ids: Any, token_mask: Any, state: Any) -> Any:
        noise = torch.zeros(1, config.chunk_size, config.max_action_dim)
        return model.sample_actions(images, masks, ids, token_mask, state, noise=noise)

    def step(sample: Any, time: Any, pad: Any, cache: dict[str, Any]) -> Any:
        read = _layers(tower)
        # LeRobot looks up every layer's entry, also where no expert reads it.
        named = {index: index if index in read else read[0] for index in range(tower.num_vlm_layers)}
        pairs = {index: (cache[f"k{name}"], cache[f"v{name}"]) for index, name in named.items()}
        return model.denoise_step(prefix_pad_masks=pad, past_key_values=_filled_cache(pairs), x_t=sample, timestep=time)

    def cache_of(cache: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for index in _layers(tower):
            keys, values = _read_cache(cache, index)
            if index in cross:
                keys = _projected(cache, keys, cross[index].k_proj)
                values = _projected(cache, values, cross[index].v_proj)
            found |= {f"k{index}": keys, f"v{index}": values}
        return found

    @contextmanager
    def prefix_within() -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(patched(tower, embed_image=lambda features: features))
            stack.enter_context(patched(config, num_steps=1))
            yield

    with faster_graphs(model), torch.no_grad():
        batch = batches[-1]
        images, _ = policy.prepare_images(batch)
        flow = Flow(
            embed=tower.embed_image,
            sample=sample,
            step=step,
            cache=cache_of,
            time=time,
            steps=config.num_steps,
            chunk=config.chunk_size,
            width=config.max_action_dim,
            state=policy.prepare_state(batch),
            state_in="prefix",
            prefix_within=prefix_within,
            step_within=lambda: identity_projections(model),
        )
        images += [torch.full_like(images[0], -1.0)] * (checkpoint.config.empty_cameras - _missing(checkpoint, images))
        yield flow_split(loaded, checkpoint, flow, images, tokens_of(batch, prompting.length, pad_id))


def _missing(checkpoint: Checkpoint, images: list[Any]) -> int:
    """How many cameras LeRobot has made up already."""
    return len(images) - sum(one.visual for one in checkpoint.processing.observed)


def _layers(tower: Any) -> list[int]:
    """Layers whose keys and values the expert reads."""
    expert = tower.get_model_layers([tower.get_vlm_model().text_model, tower.lm_expert])[1]
    return [index for index, layer in enumerate(expert) if layer is not None]


def _read_cache(cache: Any, index: int) -> tuple[Any, Any]:
    if isinstance(cache, dict):
        return cache[index]["key_states"], cache[index]["value_states"]
    return cache.layers[index].keys, cache.layers[index].values


def _projected(cache: Any, values: Any, projection: Any) -> Any:
    """Keys or values of the prefix as a cross-attention layer of the expert sees them, in the cache's layout."""
    tokens_first = isinstance(cache, dict)
    values = values if tokens_first else values.transpose(1, 2)
    shape = values.shape
    found = projection(values.reshape(*shape[:2], -1)).reshape(shape)
    return found if tokens_first else found.transpose(1, 2)


def _filled_cache(pairs: dict[int, tuple[Any, Any]]) -> Any:
    from lerobot.policies.smolvla import smolvlm_with_expert

    if not hasattr(smolvlm_with_expert, "DynamicCache"):
        return {index: {"key_states": keys, "value_states": values} for index, (keys, values) in pairs.items()}
    cache = smolvlm_with_expert.DynamicCache()
    for index, (keys, values) in pairs.items():
        cache.update(keys, values, index)
    # The step's own keys are dropped with the cache.
    cache.crop = lambda length: None
    return cache
