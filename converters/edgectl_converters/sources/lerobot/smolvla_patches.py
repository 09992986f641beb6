"""What is changed in SmolVLA's code while its parts are made and exported. Runs inside a LeRobot toolchain.

Each change computes the same numbers (to 1e-6 in float32) in a graph that runs better, and is undone afterwards:

- the time embedding is an input, made by LeRobot's own function in float64: a bf16 step errs by 0.007, not by 0.16;
- rotary positions come from a table of sines and cosines, and are applied without writing into slices;
- attention keeps grouped keys and values as they are, and masks by adding;
- the vision tower has no mask, since every patch is there, and adds positions that were looked up once: shapes would
  depend on a sum over that mask;
- the expert's keys and values of cross-attention layers are projected in the prefix, once and not at every step.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from edgectl_converters.sources.lerobot.parts import patched

__all__ = ["cross_layers", "faster_graphs", "identity_projections", "time_table"]

_MASKED = -1e4
_LONGEST = 4096
"""Positions in the table of rotary angles; a prefix of four cameras has 310."""


@contextmanager
def faster_graphs(model: Any) -> Iterator[None]:
    """All changes but the hoisted projections, which prefix and step make on their own."""
    expert = importlib.import_module("lerobot.policies.smolvla.smolvlm_with_expert")
    modeling = importlib.import_module("lerobot.policies.smolvla.modeling_smolvla")
    tower = model.vlm_with_expert
    vision = tower.get_vlm_model().vision_model
    encoder = vision.encoder
    forward = encoder.forward

    def unmasked(inputs_embeds: Any, attention_mask: Any = None, **options: Any) -> Any:
        return forward(inputs_embeds=inputs_embeds, attention_mask=None, **options)

    with ExitStack() as stack:
        stack.enter_context(patched(modeling, create_sinusoidal_pos_embedding=lambda time, *_, **__: time))
        stack.enter_context(patched(expert, apply_rope=_rope_from_table()))
        stack.enter_context(patched(tower, get_attention_interface=lambda: _grouped_attention(tower)))
        stack.enter_context(patched(encoder, forward=unmasked))
        stack.enter_context(patched(vision.embeddings, forward=_with_constant_positions(vision.embeddings)))
        yield


def time_table(model: Any, steps: int) -> Any:
    """Rows of LeRobot's time embedding, [steps, width] in float32, for t = 1, 1 - 1/steps …"""
    import torch

    modeling = importlib.import_module("lerobot.policies.smolvla.modeling_smolvla")
    config = model.config
    times = torch.tensor([1.0 + step * (-1.0 / steps) for step in range(steps)], dtype=torch.float32)
    rows = modeling.create_sinusoidal_pos_embedding(
        times, model.vlm_with_expert.expert_hidden_size, config.min_period, config.max_period, device=times.device
    )
    return rows.to(torch.float32)


def cross_layers(model: Any) -> dict[int, Any]:
    """The expert's attention in each layer that attends to the prefix alone."""
    tower = model.vlm_with_expert
    if "cross" not in tower.attention_mode:
        return {}
    layers = tower.get_model_layers([tower.get_vlm_model().text_model, tower.lm_expert])[1]
    every = tower.self_attn_every_n_layers
    return {
        index: layer.self_attn
        for index, layer in enumerate(layers)
        if layer is not None and not (every > 0 and index % every == 0)
    }


@contextmanager
def identity_projections(model: Any) -> Iterator[None]:
    """The step's cross-attention takes keys and values that the prefix has projected already."""
    import torch

    class Same(torch.nn.Module):  # type: ignore[misc]
        """Hands its input through; LeRobot asks a projection for the type of its weight."""

        def __init__(self, weight: Any) -> None:
            super().__init__()
            self.weight = weight

        def forward(self, values: Any) -> Any:
            return values

    attentions = list(cross_layers(model).values())
    before = [(attention.k_proj, attention.v_proj) for attention in attentions]
    for attention in attentions:
        attention.k_proj, attention.v_proj = Same(attention.k_proj.weight), Same(attention.v_proj.weight)
    try:
        yield
    finally:
        for attention, (keys, values) in zip(attentions, before, strict=True):
            attention.k_proj, attention.v_proj = keys, values


def _with_constant_positions(embeddings: Any) -> Any:
    forward, lookup = embeddings.forward, embeddings.position_embedding.forward
    rows: dict[tuple[int, ...], Any] = {}

    def embed(pixel_values: Any, patch_attention_mask: Any) -> Any:
        size = tuple(pixel_values.shape[-2:])
        if size not in rows:
            # Which position each patch has is transformers' own arithmetic: it differs between its versions.
            def keep(ids: Any) -> Any:
                rows[size] = lookup(ids)
                return rows[size]

            with patched(embeddings.position_embedding, forward=keep):
                return forward(pixel_values=pixel_values, patch_attention_mask=patch_attention_mask)
        return embeddings.patch_embedding(pixel_values).flatten(2).transpose(1, 2) + rows[size]

    return embed


def _rope_from_table() -> Any:
    import torch

    tables: dict[int, tuple[Any, Any]] = {}

    def table(width: int) -> tuple[Any, Any]:
        if width not in tables:
            # LeRobot's own arithmetic, for all positions at once.
            exponents = (2.0 / width) * torch.arange(width // 2, dtype=torch.float32)
            radians = torch.arange(_LONGEST, dtype=torch.float32)[:, None] / (10_000**exponents)[None]
            tables[width] = (torch.cos(radians), torch.sin(radians))
        return tables[width]

    table(64)

    def apply_rope(values: Any, positions: Any, max_wavelength: int = 10_000) -> Any:
        cosines, sines = table(values.shape[-1])
        cos, sin = cosines[positions][:, :, None, :], sines[positions][:, :, None, :]
        first, second = values.to(torch.float32).chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(values.dtype)

    return apply_rope


def _grouped_attention(tower: Any) -> Any:
    import torch

    heads, groups = tower.num_attention_heads, tower.num_key_value_heads

    def attention(mask: Any, batch: int, width: int, queries: Any, keys: Any, values: Any) -> Any:
        """Queries [batch, n, heads, width] over keys and values [batch, m, groups, width]."""
        count = queries.shape[1]
        # Query heads that share a key stand beside each other.
        asked = queries.reshape(batch, count, groups, heads // groups, width).permute(0, 2, 3, 1, 4)
        asked = asked.reshape(batch, groups, heads // groups * count, width)
        scores = torch.matmul(asked, keys.permute(0, 2, 3, 1)) * width**-0.5
        added = torch.where(mask[:, None, None], 0.0, _MASKED).to(scores.dtype)
        scores = scores.reshape(batch, groups, heads // groups, count, -1) + added
        weights = torch.softmax(scores, dim=-1).reshape(batch, groups, heads // groups * count, -1)
        found = torch.matmul(weights, values.permute(0, 2, 1, 3)).reshape(batch, groups, heads // groups, count, width)
        return found.permute(0, 3, 1, 2, 4).reshape(batch, count, heads * width)

    return attention
