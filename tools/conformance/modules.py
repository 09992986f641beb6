"""Small torch modules, one for each operator family that policies use, with what goes into each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as all of torch's users call it)

__all__ = ["Draw", "Module", "modules"]

Draw = Callable[[torch.Generator], Tensor]


class Module(nn.Module):
    """A function of up to three tensors with its parts, which it finds in `self`."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, Tensor):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)


class Of1(Module):
    """Of one tensor."""

    def forward(self, x: Tensor) -> Any:
        """What the function says."""
        return self.function(self, x)


class Of2(Module):
    """Of two tensors."""

    def forward(self, x: Tensor, y: Tensor) -> Any:
        """What the function says."""
        return self.function(self, x, y)


class Of3(Module):
    """Of three tensors."""

    def forward(self, x: Tensor, y: Tensor, z: Tensor) -> Any:
        """What the function says."""
        return self.function(self, x, y, z)


def real(*shape: int) -> Draw:
    """Normally distributed."""
    return lambda dice: torch.randn(shape, generator=dice)


def whole(high: int, *shape: int, dtype: torch.dtype = torch.int64) -> Draw:
    """Whole numbers from 0 to below `high`."""
    return lambda dice: torch.randint(0, high, shape, generator=dice).to(dtype)


def truth(*shape: int) -> Draw:
    """True or false."""
    return lambda dice: torch.rand(shape, generator=dice) > 0.4


def modules() -> Iterator[tuple[str, Module, tuple[Draw, ...]]]:
    """Name, module, what goes in."""
    yield from _convolutions()
    yield from _pools_and_sizes()
    yield from _norms()
    yield from _products()
    yield from _attention()
    yield from _activations()
    yield from _places()
    yield from _lookups()
    yield from _elementwise()
    yield from _reductions()
    yield from _types()
    yield from _blocks()
    yield from _recurrent()


def _convolutions() -> Iterator[tuple[str, Module, tuple[Draw, ...]]]:
    def conv(name: str, layer: nn.Module, *shape: int) -> tuple[str, Module, tuple[Draw, ...]]:
        return f"conv_{name}", Of1(lambda m, x: m.layer(x), layer=layer), (real(1, *shape),)

    yield conv("1d", nn.Conv1d(8, 16, 3, padding=1), 8, 16)
    yield conv("1d_dilated", nn.Conv1d(8, 8, 3, padding=2, dilation=2), 8, 16)
    yield conv("1d_transposed", nn.ConvTranspose1d(8, 8, 4, 2, 1), 8, 16)
    yield conv("2d", nn.Conv2d(3, 16, 3, padding=1), 3, 16, 16)
    yield conv("2d_stride", nn.Conv2d(3, 16, 7, stride=2, padding=3, bias=False), 3, 32, 32)
    yield conv("2d_patch", nn.Conv2d(3, 24, 8, stride=8), 3, 32, 32)
    yield conv("2d_depthwise", nn.Conv2d(8, 8, 3, padding=1, groups=8), 8, 12, 12)
    yield conv("2d_grouped", nn.Conv2d(8, 16, 3, padding=1, groups=2), 8, 12, 12)
    yield conv("2d_pointwise", nn.Conv2d(8, 16, 1), 8, 12, 12)
    yield conv("2d_transposed", nn.ConvTranspose2d(8, 4, 2, stride=2), 8, 8, 8)
    yield conv("3d", nn.Conv3d(3, 8, (2, 3, 3), padding=(0, 1, 1)), 3, 4, 8, 8)


def _pools_and_sizes() -> Iterator[tuple[str, Module, tuple[Draw, ...]]]:
    image = (real(1, 4, 12, 12),)
    yield "pool_max", Of1(lambda m, x: F.max_pool2d(x, 3, 2, 1)), image
    yield "pool_average", Of1(lambda m, x: F.avg_pool2d(x, 2)), image
    yield "pool_adaptive_to_one", Of1(lambda m, x: F.adaptive_avg_pool2d(x, 1).flatten(1)), image
    yield "pool_adaptive_to_grid", Of1(lambda m, x: F.adaptive_avg_pool2d(x, (3, 4))), image
    yield "pool_spatial_softmax", Of1(_spatial_softmax), image
    yield "resize_nearest", Of1(lambda m, x: F.interpolate(x, scale_factor=2.0, mode="nearest")), image
    yield "resize_bilinear", Of1(lambda m, x: F.interpolate(x, (18, 20), mode="bilinear", align_corners=False)), image
    yield (
        "resize_bilinear_corners",
        Of1(lambda m, x: F.interpolate(x, (18, 20), mode="bilinear", align_corners=True)),
        image,
    )
    yield "resize_bicubic", Of1(lambda m, x: F.interpolate(x, (24, 24), mode="bicubic", align_corners=False)), image
    yield "resize_1d_linear", Of1(lambda m, x: F.interpolate(x, 24, mode="linear")), (real(1, 4, 12),)
    yield "pad_zeros", Of1(lambda m, x: F.pad(x, (1, 2, 3, 0))), image
    yield "pad_value", Of1(lambda m, x: F.pad(x, (0, 0, 2, 0), value=-1.0)), (real(1, 6, 8),)
    yield "pad_replicate", Of1(lambda m, x: F.pad(x, (2, 2, 2, 2), mode="replicate")), image
    yield "pad_reflect", Of1(lambda m, x: F.pad(x, (2, 2, 2, 2), mode="reflect")), image
    yield "resize_pixel_shuffle", Of1(lambda m, x: F.pixel_shuffle(x, 2)), image


def _spatial_softmax(_: Module, x: Tensor) -> Tensor:
    grid = torch.linspace(-1.0, 1.0, 12)
    weights = x.flatten(2).softmax(-1).unflatten(-1, (12, 12))
    return torch.stack(((weights.sum(2) * grid).sum(-1), (weights.sum(3) * grid).sum(-1)), dim=-1)


def _norms() -> Iterator[tuple[str, Module, tuple[Draw, ...]]]:
    batch = nn.BatchNorm2d(4)
    assert batch.running_mean is not None
    assert batch.running_var is not None
    batch.running_mean.normal_()
    batch.running_var.uniform_(0.5, 2.0)
    tokens, image = (real(1, 6, 16),), (real(1, 4, 8, 8),)
    yield "norm_batch", Of1(lambda m, x: m.layer(x), layer=batch), image
    yield "norm_layer", Of1(lambda m, x: m.layer(x), layer=nn.LayerNorm(16)), tokens
    yield "norm_layer_plain", Of1(lambda m, x: F.layer_norm(x, (16,), eps=1e-6)), tokens
    yield "norm_group", Of1(lambda m, x: m.layer(x), layer=nn.GroupNorm(2, 4)), image
    yield "norm_instance", Of1(lambda m, x: m.layer(x), layer=nn.InstanceNorm2d(4, affine=True)), image
    yield "norm_rms", Of1(lambda m, x: m.layer(x), layer=nn.RMSNorm(16, eps=1e-6)), tokens
    yield "norm_rms_written_out", Of1(lambda m, x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)), tokens
    yield "norm_of_vectors", Of1(lambda m, x: F.normalize(x, dim=-1)), tokens


def _products() -> Iterator[tuple[str, Module, tuple[Draw, ...]]]:
    tokens = real(1, 6, 16)
    yield "linear", Of1(lambda m, x: m.layer(x), layer=nn.Linear(16, 8)), (tokens,)
    yield "linear_without_bias", Of1(lambda m, x: m.layer(x), layer=nn.Linear(16, 8, bias=False)), (real(1, 16),)
    yield "matmul_batched", Of2(lambda m, x, y: x @ y), (real(1, 2, 6, 8), real(1, 2, 8, 5))
    yield "matmul_broadcast", Of2(lambda m, x, y: x @ y), (real(1, 2, 6, 8), real(8, 5))
    yield "matmul_vector", Of2(lambda m, x, y: x @ y), (real(1, 6, 8), real(8))
    yield "bmm", Of2(lambda m, x, y: torch.bmm(x, y)), (real(3, 6, 8), real(3, 8, 5))
    yield "addmm", Of2(lambda m, x, y: torch.addmm(m.bias, x, y), bias=torch.randn(5)), (real(6, 8), real(8, 5))
    yield "einsum", Of2(lambda m, x, y: torch.einsum("bqhd,bkhd->bhqk", x, y)), (real(1, 5, 2, 8), real(1, 7, 2, 8))
    yield "bilinear", Of2(lambda m, x, y: m.layer(x, y), layer=nn.Bilinear(6, 5, 4)), (real(1, 6), real(1, 5))


def _attention() -> Iterator[tuple[str, Module, tuple[Draw, ...]]]:
    sdpa = F.scaled_dot_product_attention
    heads = (real(1, 2, 6, 8), real(1, 2, 6, 8), real(1, 2, 6, 8))
    cache = torch.randn(1, 2, 4, 8)
    yield "attention", Of3(lambda m, x, y, z: sdpa(x, y, z)), heads
    yield "attention_causal", Of3(lambda m, x, y, z: sdpa(x, y, z, is_causal=True)), heads
    mask = torch.rand(6, 6).gt(0.5) | torch.eye(6, dtype=torch.bool)
    yield "attention_boolean_mask", Of3(lambda m, x, y, z: sdpa(x, y, z, attn_mask=m.mask), mask=mask), heads
    bias = torch.randn(6, 6)
    yield "attention_added_mask", Of3(lambda m, x, y, z: sdpa(x, y, z, attn_mask=m.mask), mask=bias), heads
    yield (
        "attention_mask_fed",
        Of2(lambda m, x, y: sdpa(x, x, x, attn_mask=(y | m.own)[:, None, None]), own=torch.arange(6) == 0),
        (heads[0], truth(1, 6)),
    )
    yield (
        "attention_grouped_queries",
        Of3(lambda m, x, y, z: sdpa(x, y.repeat_interleave(2, 1), z.repeat_interleave(2, 1))),
        (real(1, 4, 6, 8), *heads[1:]),
    )
    yield "attention_with_cache", Of3(_cached, keys=cache, values=-cache), heads
    yield "attention_written_out", Of3(lambda m, x, y, z: (x @ y.mT / math.sqrt(8)).softmax(-1) @ z), heads
    own = nn.MultiheadAttention(16, 2, batch_first=True)
    yield "attention_module", Of1(lambda m, x: m.layer(x, x, x, need_weights=False)[0], layer=own), (real(1, 6, 16),)
    yield "cache_concat", Of2(lambda m, x, y: torch.cat((x, y), 2)), (real(1, 2, 4, 8), real(1, 2, 1, 8))
    yield "cache_write_at", Of3(_written), (real(1, 2, 8, 4), real(1, 2, 1, 4), whole(8, 1))
    yield "rope_halves", Of1(_rope), (real(1, 2, 6, 8),)
    yield "rope_interleaved", Of1(_rope_interleaved), (real(1, 2, 6, 8),)
    yield "rope_positions_fed", Of2(_rope_at), (real(1, 2, 6, 8), whole(32, 1, 6))


def _cached(m: Module, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    keys, values = torch.cat((m.keys, y), 2), torch.cat((m.values, z), 2)
    return F.scaled_dot_product_attention(x, keys, values)


def _written(_: Module, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return torch.index_copy(x, 2, z, y)


def _angles(positions: Tensor) -> Tensor:
    return positions[..., None].float() * 100.0 ** -(torch.arange(4).float() / 4)


def _turned(x: Tensor, angles: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1)


def _rope(_: Module, x: Tensor) -> Tensor:
    return _turned(x, _angles(torch.arange(6)))


def _rope_at(_: Module, x: Tensor, y: Tensor) -> Tensor:
    return _turned(x, _angles(y)[:, None])


def _rope_interleaved(_: Module, x: Tensor) -> Tensor:
    angles = _angles(torch.arange(6))
    even, odd = x[..., 0::2], x[..., 1::2]
    cosine, sine = angles.cos(), angles.sin()
    return torch.stack((even * cosine - odd * sine, odd * cosine + even * sine), -1).flatten(-2)


def _activations() -> Iterator[tuple[str, Module, tuple[Draw, ...]]]:
    found: dict[str, Callable[[Tensor], Tensor]] = {
        "relu": F.relu,
        "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
        "elu": F.elu,
        "gelu": F.gelu,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "gelu_quick": lambda x: x * torch.sigmoid(1.702 * x),
        "silu": F.silu,
        "mish": F.mish,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "softplus": F.softplus,
        "hardswish": F.hardswish,
        "softmax": lambda x: x.softmax(-1),
        "log_softmax": lambda x: x.log_softmax(1),
        "glu": lambda x: F.glu(x, -1),
    }
    for name, function in found.items():
        yield f"activation_{name}", Of1(lambda m, x, f=function: f(x)), (real(1, 6, 16),)
    prelu = Of1(lambda m, x: m.layer(x), layer=nn.PReLU(6))
    yield "activation_prelu", prelu, (real(1, 6, 16),)


def _places() -> Iterator[tuple[str, Module, tuple[Draw, ...]]]:
    x, image = real(1, 6, 8), (real(1, 4, 6, 8),)
    yield "shape_flatten", Of1(lambda m, x: x.flatten(1) + 1), image
    yield "shape_reshape", Of1(lambda m, x: x.reshape(1, 8, 3, 2, 4) * 2), image
    yield "shape_permute", Of1(lambda m, x: x.permute(0, 2, 3, 1) * 2), image
    yield "shape_transpose", Of1(lambda m, x: x.transpose(1, 2).contiguous()), (x,)
    yield "shape_squeeze", Of1(lambda m, x: x.unsqueeze(2).squeeze(0).unsqueeze(0) - 1), (x,)
    yield "shape_expand", Of2(lambda m, x, y: x + y[:, None].expand(-1, 6, -1)), (x, real(1, 8))
    yield "shape_repeat", Of1(lambda m, x: x.repeat(1, 2, 3)), (x,)
    yield "slice", Of1(lambda m, x: x[:, 1:5, ::2]), (x,)
    yield "slice_from_end", Of1(lambda m, x: x[:, -2:]), (x,)
    yield "select", Of1(lambda m, x: x[:, -1]), (x,)
    yield "cat", Of2(lambda m, x, y: torch.cat((x, y), -1)), (x, real(1, 6, 3))
    yield "stack", Of2(lambda m, x, y: torch.stack((x, y), 1)), (x, x)
    yield "split", Of1(lambda m, x: (lambda a, b: a * 2 - b)(*x.split(4, -1))), (x,)
    yield "chunk_three_outputs", Of1(lambda m, x: tuple(part + 1 for part in x.chunk(3, 1))), (x,)
    yield "unbind", Of1(lambda m, x: (lambda a, b: a * b)(*x.reshape(1, 2, 3, 8).unbind(1))), (x,)
    yield "flip", Of1(lambda m, x: x.flip(1)), (x,)
    yield "roll", Of1(lambda m, x: x.roll(2, 1)), (x,)
    yield "unfold_windows", Of1(lambda m, x: x.unfold(1, 3, 1)), (x,)
    yield (
        "meshgrid",
        Of1(lambda m, x: x + torch.stack(torch.meshgrid(*m.axes(), indexing="ij")).sum(0), axes=_axes),
        (x,),
    )


def _axes() -> tuple[Tensor, Tensor]:
    return torch.arange(6).float(), torch.arange(8).float()


def _lookups() -> Iterator[tuple[str, Module, tuple[Draw, ...]]]:
    table = nn.Embedding(32, 8)
    x = real(1, 6, 8)
    yield "embedding", Of1(lambda m, x: m.layer(x), layer=table), (whole(32, 1, 6),)
    yield "embedding_int32", Of1(lambda m, x: m.layer(x), layer=table), (whole(32, 1, 6, dtype=torch.int32),)
    yield "embedding_sinusoidal", Of1(_sinusoidal), (whole(100, 1),)
    yield "gather", Of2(lambda m, x, y: torch.gather(x, 1, y)), (x, whole(6, 1, 3, 8))
    yield "index_select", Of1(lambda m, x: x.index_select(1, m.at), at=torch.tensor([4, 0, 2])), (x,)
    yield "index_by_tensor", Of2(lambda m, x, y: x[:, y]), (x, whole(6, 4))
    yield "index_one_per_row", Of2(lambda m, x, y: x[torch.arange(3), y]), (real(3, 6, 8), whole(6, 3))
    yield "scatter", Of3(lambda m, x, y, z: x.scatter(1, y, z)), (x, _order(1, 3, 8), real(1, 3, 8))
    yield "one_hot", Of1(lambda m, x: F.one_hot(x, 5).float()), (whole(5, 1, 4),)


def _order(*shape: int) -> Draw:
    # No index twice in a column: which of two values stays is not said.
    return lambda dice: torch.rand(shape[0], 6, shape[2], generator=dice).argsort(1)[:, : shape[1]]


def _sinusoidal(_: Module, x: Tensor) -> Tensor:
    angles = x.float()[:, None] * torch.exp(torch.arange(8).float() * (-math.log(10000.0) / 7))
    return torch.cat((angles.sin(), angles.cos()), -1)


def _elementwise() -> Iterator[tuple[str, Module, tuple[Draw, ...]]]:
    x = real(1, 6, 8)
    yield "arithmetic", Of2(lambda m, x, y: (x + y) * x - y / 3.0), (x, x)
    yield "broadcast", Of2(lambda m, x, y: x * y + m.bias, bias=torch.randn(6, 1)), (x, real(8))
    yield "where", Of3(lambda m, x, y, z: torch.where(z, x, y)), (x, x, truth(1, 6, 8))
    yield "where_compare", Of2(lambda m, x, y: torch.where(x > y, x, 0.5)), (x, x)
    yield "masked_fill", Of2(lambda m, x, y: x.masked_fill(y, -5.0)), (x, truth(1, 6, 8))
    yield "clamp", Of1(lambda m, x: x.clamp(-0.5, 0.8)), (x,)
    yield "min_max", Of2(lambda m, x, y: torch.maximum(x, y) - torch.minimum(x, m.zero), zero=torch.zeros(())), (x, x)
    yield "powers", Of1(lambda m, x: x.pow(3) + x.abs().sqrt() + (x * x + 1).reciprocal()), (x,)
    yield "exponents", Of1(lambda m, x: x.exp() + (x.abs() + 1).log() + torch.expm1(x)), (x,)
    yield "trigonometry", Of2(lambda m, x, y: x.sin() + y.cos() + torch.atan2(x, y)), (x, x)
    yield "rounding", Of1(lambda m, x: (x * 3).round() + x.floor() - x.ceil() + x.trunc()), (x,)
    yield "remainder", Of1(lambda m, x: torch.remainder(x, 0.7) + torch.fmod(x, 0.7)), (x,)
    yield "error_function", Of1(lambda m, x: torch.erf(x)), (x,)
    yield "signs", Of1(lambda m, x: x.sign() * x.neg()), (x,)


def _reductions() -> Iterator[tuple[str, Module, tuple[Draw, ...]]]:
    x = (real(1, 6, 8),)
    yield "reduce_sum", Of1(lambda m, x: x.sum(1)), x
    yield "reduce_mean", Of1(lambda m, x: x.mean((1, 2), keepdim=True)), x
    yield "reduce_max", Of1(lambda m, x: x.amax(-1) - x.amin(-1)), x
    yield "reduce_max_and_where", Of1(lambda m, x: (lambda v, i: v + i)(*x.max(-1))), x
    yield "reduce_variance", Of1(lambda m, x: x.var(-1) + x.std(-1, unbiased=False)), x
    yield "reduce_product", Of1(lambda m, x: x.prod(1)), x
    yield "reduce_norm", Of1(lambda m, x: torch.linalg.vector_norm(x, dim=-1)), x
    yield "reduce_any_all", Of1(lambda m, x: (x > 1).any(-1) & (x > -3).all(-1)), x
    yield "logsumexp", Of1(lambda m, x: x.logsumexp(-1)), x
    yield "cumsum", Of1(lambda m, x: x.cumsum(1)), x
    yield "cumsum_of_mask", Of1(lambda m, x: x.cumsum(1) - 1), (truth(1, 6),)
    yield "argmax", Of1(lambda m, x: x.argmax(-1)), x
    yield "topk", Of1(lambda m, x: tuple(x.topk(3, -1))), x
    yield "sort", Of1(lambda m, x: x.sort(-1, descending=True)[0]), x


def _types() -> Iterator[tuple[str, Module, tuple[Draw, ...]]]:
    x, numbers = real(1, 6, 8), whole(20, 1, 6)
    yield "cast_to_int", Of1(lambda m, x: (x * 10).to(torch.int32)), (x,)
    yield "cast_to_half_and_back", Of1(lambda m, x: x.half().float() * 2), (x,)
    yield "cast_bool", Of1(lambda m, x: x.float() * 2 - 1), (truth(1, 6),)
    yield "input_int32", Of2(lambda m, x, y: x * y + 3), (whole(9, 1, 6, dtype=torch.int32),) * 2
    yield "input_int64", Of1(lambda m, x: x // 3 + x % 4), (numbers,)
    yield "input_uint8", Of1(lambda m, x: x.float() / 255), (whole(256, 1, 3, 8, 8, dtype=torch.uint8),)
    yield "input_boolean", Of2(lambda m, x, y: (x & ~y) | (x ^ y)), (truth(1, 6), truth(1, 6))
    yield "compare", Of2(lambda m, x, y: (x >= y) & (x != 3) | (x == y)), (numbers, numbers)
    yield "mask_by_length", Of1(lambda m, x: (torch.arange(8) < x[:, None]).float()), (whole(8, 1),)
    yield "causal_mask", Of1(lambda m, x: x.tril() + x.triu(1) * 0.1), (real(1, 6, 6),)


def _blocks() -> Iterator[tuple[str, Module, tuple[Draw, ...]]]:
    def layers(*parts: nn.Module) -> nn.Sequential:
        return nn.Sequential(*parts)

    film = layers(nn.SiLU(), nn.Linear(12, 16))
    yield "block_film", Of2(_film, layer=nn.Conv1d(8, 8, 3, padding=1), film=film), (real(1, 8, 16), real(1, 12))
    body = layers(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8))
    yield "block_residual", Of1(lambda m, x: F.relu(x + m.body(x)), body=body), (real(1, 8, 10, 10),)
    unet = layers(nn.Conv1d(8, 8, 5, padding=2), nn.GroupNorm(4, 8), nn.Mish())
    yield "block_conv_group_mish", Of1(lambda m, x: m.body(x), body=unet), (real(1, 8, 16),)
    mlp = layers(nn.Linear(16, 64), nn.Mish(), nn.Linear(64, 16))
    yield "block_timestep_mlp", Of1(lambda m, x: m.body(_sinusoidal(m, x)), body=mlp), (whole(100, 1),)
    gated = {"gate": nn.Linear(16, 32), "up": nn.Linear(16, 32), "down": nn.Linear(32, 16)}
    yield "block_gated_mlp", Of1(lambda m, x: m.down(F.silu(m.gate(x)) * m.up(x)), **gated), (real(1, 6, 16),)
    first = nn.TransformerEncoderLayer(16, 2, 32, activation="gelu", batch_first=True, norm_first=True)
    yield "block_encoder", Of1(lambda m, x: m.layer(x), layer=first), (real(1, 6, 16),)
    second = nn.TransformerDecoderLayer(16, 2, 32, batch_first=True)
    yield "block_decoder", Of2(lambda m, x, y: m.layer(x, y), layer=second), (real(1, 4, 16), real(1, 6, 16))
    adaptive = {"norm": nn.LayerNorm(16, elementwise_affine=False), "scale": nn.Linear(8, 32)}
    yield "block_adaptive_norm", Of2(_adaptive, **adaptive), (real(1, 6, 16), real(1, 8))
    yield (
        "block_euler_step",
        Of2(lambda m, x, y: x - 0.1 * (m.layer(x) - y), layer=nn.Linear(8, 8)),
        (real(1, 6, 8),) * 2,
    )
    patches = {"layer": nn.Conv2d(3, 16, 4, 4), "places": torch.randn(1, 17, 16), "first": torch.randn(1, 1, 16)}
    yield "block_patches", Of1(_patches, **patches), (real(1, 3, 16, 16),)


def _film(m: Module, x: Tensor, y: Tensor) -> Tensor:
    scale, shift = m.film(y).unsqueeze(-1).chunk(2, 1)
    return m.layer(x) * (1 + scale) + shift


def _adaptive(m: Module, x: Tensor, y: Tensor) -> Tensor:
    scale, shift = m.scale(y)[:, None].chunk(2, -1)
    return m.norm(x) * (1 + scale) + shift


def _patches(m: Module, x: Tensor) -> Tensor:
    return torch.cat((m.first.expand(x.shape[0], -1, -1), m.layer(x).flatten(2).mT), 1) + m.places


def _recurrent() -> Iterator[tuple[str, Module, tuple[Draw, ...]]]:
    state = real(1, 8)
    yield "cell_gru", Of2(lambda m, x, y: m.layer(x, y), layer=nn.GRUCell(6, 8)), (real(1, 6), state)
    cell = nn.LSTMCell(6, 8)
    yield "cell_lstm", Of3(lambda m, x, y, z: m.layer(x, (y, z)), layer=cell), (real(1, 6), state, state)
    yield "cell_rnn", Of2(lambda m, x, y: m.layer(x, y), layer=nn.RNNCell(6, 8)), (real(1, 6), state)
    yield "sequence_gru", Of1(lambda m, x: m.layer(x)[0], layer=nn.GRU(6, 8, batch_first=True)), (real(1, 5, 6),)
    yield "sequence_lstm", Of1(lambda m, x: m.layer(x)[0], layer=nn.LSTM(6, 8, batch_first=True)), (real(1, 5, 6),)
