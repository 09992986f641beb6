"""What SmolVLA and π share: a vision-language prefix that fills a KV cache, an expert that integrates a flow over it.

Runs inside a LeRobot toolchain. `vision` runs once for each camera, `prefix` once, `step` at every denoising step. No
code of LeRobot's is copied: `prefix` is LeRobot's own sample_actions, stopped at its first denoise_step, and `step` is
that denoise_step. Euler's x += -1/n * v stays outside the graphs. A camera that the policy only pretends to have is a
constant of the prefix, masked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from edgectl_converters.sources.lerobot.card import TASK, Checkpoint
from edgectl_converters.sources.lerobot.loading import Loaded
from edgectl_converters.sources.lerobot.parts import Part, Split, Within, make_part, patched, tensor_of
from edgectl_converters.sources.lerobot.program import entering
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.program import Call, Integrate, Noise, Prediction, Repeat, Slice

__all__ = ["Flow", "flow_split", "predict", "tokens_of"]

_TOKENS, _TOKEN_MASK = "observation.language.tokens", "observation.language.attention_mask"


@dataclass(frozen=True, slots=True)
class Flow:
    """What differs between the policies.

    `embed` is LeRobot's embed_image; `sample(images, masks, tokens, token_mask, state)` is its sample_actions;
    `step(sample, time, pad, state, cache)` its denoise_step. `cache` are the tensors that a prefix leaves, by port, and
    `time` the rows that a step is given. `state` is an example of the padded state, and `state_in` the component that
    takes it, if one does.
    """

    embed: Callable[[Any], Any]
    sample: Callable[..., Any]
    step: Callable[..., Any]
    cache: Callable[[Any], dict[str, Any]]
    time: Any
    steps: int
    chunk: int
    width: int
    state: Any
    state_in: str
    prefix_within: Within
    step_within: Within


def predict(loaded: Loaded, batches: list[dict[str, Any]], noise: dict[str, Any]) -> Any:
    """LeRobot's own chunk [1, chunk, action], normalised."""
    loaded.policy.reset()
    return loaded.policy.predict_action_chunk(dict(batches[-1]), noise=noise["sample"][None])


def flow_split(loaded: Loaded, checkpoint: Checkpoint, flow: Flow, images: list[Any], tokens: tuple[Any, Any]) -> Split:
    """The parts and the core of the program. `images` are example planes, cameras in the policy's order."""
    import torch

    model = loaded.policy.model
    cameras = [one.short for one in checkpoint.processing.observed if one.visual]
    state = {"state": flow.state} if flow.state_in else {}
    vision = make_part("vision", _module(model, flow.embed), {"planes": images[0]}, ("features",))
    with torch.no_grad():
        features = [flow.embed(image) for image in images]
    seen = {f"{short}_features": value for short, value in zip(cameras, features, strict=False)}
    empty = features[len(cameras) :]
    token_ports = {"ids": tokens[0], "token_mask": tokens[1]}
    prefix_state = state if flow.state_in == "prefix" else {}
    tap = _Tap()

    def prefix_forward(*values: Any) -> tuple[Any, ...]:
        images, rest = list(values[: len(cameras)]), values[len(cameras) :]
        masks = [torch.ones(1, dtype=torch.bool)] * len(images) + [torch.zeros(1, dtype=torch.bool)] * len(empty)
        flow.sample([*images, *empty], masks, rest[0], rest[1], rest[2] if len(rest) > 2 else flow.state)
        return (tap.pad, *flow.cache(tap.cache).values())

    @contextmanager
    def prefix_within() -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(flow.prefix_within())
            stack.enter_context(patched(model, denoise_step=tap))
            yield

    with torch.no_grad(), prefix_within():
        prefix_forward(*seen.values(), *token_ports.values(), *prefix_state.values())
        cache_ports = list(flow.cache(tap.cache))
    prefix = make_part(
        "prefix",
        _module(model, prefix_forward),
        {**seen, **token_ports, **prefix_state},
        ("pad", *cache_ports),
        within=prefix_within,
    )
    step_state = state if flow.state_in == "step" else {}

    def step_forward(sample: Any, time: Any, pad: Any, *rest: Any) -> Any:
        own = len(step_state)
        return flow.step(sample, time, pad, *rest[:own], dict(zip(cache_ports, rest[own:], strict=True)))

    step = make_part(
        "step",
        _module(model, step_forward),
        {"sample": torch.zeros(1, flow.chunk, flow.width), "time": flow.time[:1], "pad": prefix.outputs["pad"]}
        | step_state
        | {port: prefix.outputs[port] for port in cache_ports},
        ("velocity",),
        within=flow.step_within,
    )
    return _program(checkpoint, flow, cameras, vision, prefix, step)


def tokens_of(batch: dict[str, Any], length: int, pad_id: int) -> tuple[Any, Any]:
    """Token ids and mask of a batch at the fixed length; LeRobot may pad to the longest of the batch."""
    import torch

    ids, mask = batch[_TOKENS], batch[_TOKEN_MASK].bool()
    more = length - ids.shape[1]
    ids = torch.nn.functional.pad(ids, (0, more), value=pad_id).to(torch.int64)
    return ids, torch.nn.functional.pad(mask, (0, more), value=False)


class _Tap:
    """Stands where LeRobot's denoise_step stood, and keeps what it is given."""

    pad: Any = None
    cache: Any = None

    def __call__(self, *, prefix_pad_masks: Any, past_key_values: Any, x_t: Any, **_: Any) -> Any:
        import torch

        self.pad, self.cache = prefix_pad_masks, past_key_values
        return torch.zeros_like(x_t)


def _module(model: Any, forward: Callable[..., Any]) -> Any:
    """A torch module of this forward, whose weights are the model's."""
    import torch

    class Part(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def forward(self, *values: Any) -> Any:
            return forward(*values)

    return Part()


def _program(checkpoint: Checkpoint, flow: Flow, cameras: list[str], vision: Part, prefix: Part, step: Part) -> Split:
    import numpy as np

    tensors = [tensor_of(f"{short}.features", vision.outputs["features"]) for short in cameras]
    steps: list[Any] = [
        Call(f"vision.{short}", "vision", {"planes": f"{short}.planes"}, {"features": f"{short}.features"})
        for short in cameras
    ]
    prefix_in = {f"{short}_features": f"{short}.features" for short in cameras}
    prefix_in |= {"ids": f"{TASK}.ids", "token_mask": f"{TASK}.mask"}
    step_in = {"sample": "sample", "time": "time", "pad": "pad"}
    state = next(one for one in checkpoint.processing.observed if not one.visual)
    if flow.state_in:
        (prefix_in if flow.state_in == "prefix" else step_in)["state"] = entering(state)
    made = {port: port for port in prefix.outputs}
    tensors += [tensor_of(port, value) for port, value in prefix.outputs.items()]
    tensors += [
        tensor_of("sample", step.inputs["sample"]),
        tensor_of("time", step.inputs["time"]),
        tensor_of("velocity", step.outputs["velocity"]),
    ]
    chunk = TensorSpec("chunk", tensors[-1].dtype, (flow.chunk, *checkpoint.policy.action.shape))
    step_in |= {port: port for port in prefix.outputs if port != "pad"}
    steps += [
        Call("prefix", "prefix", prefix_in, made),
        Noise("noise", "sample"),
        Repeat(
            "denoise",
            flow.steps,
            (
                Call("step", "step", step_in, {"velocity": "velocity"}),
                Integrate("euler", "sample", "velocity", "step.euler", Prediction.VELOCITY),
            ),
            {"time": "step.time"},
        ),
        Slice("slice", "sample", "chunk"),
    ]
    euler = np.zeros((flow.steps, 6), np.float32)
    euler[:, 0] = euler[:, 3] = 1
    euler[:, 4] = -1 / flow.steps
    return Split(
        parts=(vision, prefix, step),
        steps=tuple(steps),
        tensors=(*tensors, chunk),
        chunk="chunk",
        noise={"sample": (flow.chunk, flow.width)},
        arrays={"step.time": flow.time.numpy(), "step.euler": euler},
    )
