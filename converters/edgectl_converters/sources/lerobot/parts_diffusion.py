"""Diffusion policy: `encoder` once over the history of observations, `denoiser` at every denoising step.

Runs inside a LeRobot toolchain. Facts: resizing and cropping frames is part of the encoder; the noise scheduler is
diffusers', whose update for DDIM (eta 0) and DDPM is linear in the clipped sample, the sample and the prediction, so it
becomes a table of six coefficients a step and stays outside the graphs. DDPM draws noise at every step but the last.
The chunk is the part of the horizon that begins at the newest observation.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from edgectl_converters.sources.lerobot.card import Checkpoint
from edgectl_converters.sources.lerobot.loading import Loaded
from edgectl_converters.sources.lerobot.parts import Split, make_part, patched, tensor_of
from edgectl_converters.sources.lerobot.program import entering
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import CheckpointFormatError
from edgectl_protos.domain.program import Call, Integrate, Noise, Prediction, Repeat, Slice, Step

__all__ = ["predict", "split"]

_IMAGES, _STATE, _ENVIRONMENT = "observation.images", "observation.state", "observation.environment_state"
_PREDICTS = {"epsilon": Prediction.NOISE, "sample": Prediction.SAMPLE}


def predict(loaded: Loaded, batches: list[dict[str, Any]], noise: dict[str, Any]) -> Any:
    """LeRobot's own chunk [1, n_action_steps, action], normalised."""
    from lerobot.policies.utils import populate_queues

    policy = loaded.policy
    policy.reset()
    stacked = [_stacked(policy, batch) for batch in batches]
    for batch in stacked:
        policy._queues = populate_queues(policy._queues, batch)
    with _given_noise(noise.get("fresh")):
        return policy.predict_action_chunk(stacked[-1], noise=noise["sample"][None])


@contextmanager
def split(loaded: Loaded, checkpoint: Checkpoint, batches: list[dict[str, Any]], pad_id: int) -> Iterator[Split]:
    """Encoder and denoiser, and the scheduler's coefficients.

    Raises:
        CheckpointFormatError: the scheduler does something that the coefficients cannot say.
    """
    import torch

    diffusion, observed = loaded.policy.diffusion, checkpoint.processing.observed
    config = diffusion.config
    times, table = _coefficients(diffusion)

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        """LeRobot's conditioning, one input a feature, each [1, history, …], or [1, …] without a history."""

        def __init__(self) -> None:
            super().__init__()
            self.net = diffusion

        def forward(self, *values: Any) -> Any:
            if single:
                values = tuple(value.unsqueeze(1) for value in values)
            frames = [value for one, value in zip(observed, values, strict=True) if one.visual]
            batch = {one.policy_name: value for one, value in zip(observed, values, strict=True) if not one.visual}
            if frames:
                batch[_IMAGES] = torch.stack(frames, dim=2)
            return self.net._prepare_global_conditioning(batch)

    class Denoiser(torch.nn.Module):  # type: ignore[misc]
        """The U-net; the timestep is an input."""

        def __init__(self) -> None:
            super().__init__()
            self.net = diffusion.unet

        def forward(self, sample: Any, timestep: Any, condition: Any) -> Any:
            return self.net(sample, timestep, global_cond=condition)

    # A history of one has no dimension among the program's tensors.
    single = len(batches) == 1
    inputs = {
        one.short: batches[0][one.policy_name]
        if single
        else torch.stack([batch[one.policy_name] for batch in batches], dim=1)
        for one in observed
    }
    encoder = make_part("encoder", Encoder(), inputs, ("condition",))
    shape = (config.horizon, *checkpoint.policy.action.shape)
    denoiser = make_part(
        "denoiser",
        Denoiser(),
        {
            "sample": torch.zeros(1, *shape),
            "timestep": torch.as_tensor(times[:1]),
            "condition": encoder.outputs["condition"],
        },
        ("prediction",),
    )
    yield Split(
        parts=(encoder, denoiser),
        steps=_steps(checkpoint, config, len(times), ancestral=bool(table[:, 5].any())),
        tensors=(
            tensor_of("condition", encoder.outputs["condition"]),
            TensorSpec("timestep", DType.INT64, (1,)),
            tensor_of("sample", denoiser.inputs["sample"]),
            tensor_of("prediction", denoiser.outputs["prediction"]),
            *([TensorSpec("fresh", DType.FLOAT32, shape)] if table[:, 5].any() else []),
            TensorSpec("chunk", DType.FLOAT32, (checkpoint.policy.chunk_size, *checkpoint.policy.action.shape)),
        ),
        chunk="chunk",
        noise={"sample": shape} | ({"fresh": (len(times), *shape)} if table[:, 5].any() else {}),
        arrays={"denoiser.timestep": times[:, None], "denoiser.update": table},
    )


def _steps(checkpoint: Checkpoint, config: Any, times: int, *, ancestral: bool) -> tuple[Step, ...]:
    into = {one.short: entering(one) for one in checkpoint.processing.observed}
    ports = {"sample": "sample", "timestep": "timestep", "condition": "condition"}
    predicts = _PREDICTS[config.prediction_type]
    clip = float(config.clip_sample_range) if config.clip_sample else 0.0
    inner: list[Step] = [Call("denoiser", "denoiser", ports, {"prediction": "prediction"})]
    if ancestral:
        inner.append(Noise("fresh", "fresh"))
    fresh = "fresh" if ancestral else ""
    inner.append(Integrate("update", "sample", "prediction", "denoiser.update", predicts, clip, fresh))
    return (
        Call("encoder", "encoder", into, {"condition": "condition"}),
        Noise("noise", "sample"),
        Repeat("denoise", times, tuple(inner), {"timestep": "denoiser.timestep"}),
        Slice("slice", "sample", "chunk", (checkpoint.policy.history - 1, 0)),
    )


def _coefficients(diffusion: Any) -> tuple[Any, Any]:
    """Timesteps [steps] int64, and rows of the coefficients of `domain.program.Integrate` in float32."""
    import numpy as np

    scheduler = diffusion.noise_scheduler
    scheduler.set_timesteps(diffusion.num_inference_steps)
    times = scheduler.timesteps.cpu().numpy().astype(np.int64)
    settings = scheduler.config
    if settings.get("thresholding") or settings.get("rescale_betas_zero_snr"):
        raise CheckpointFormatError("a noise scheduler with thresholding or rescaled betas is not supported")
    ddim = type(scheduler).__name__ == "DDIMScheduler"
    if not ddim and settings["variance_type"] != "fixed_small":
        raise CheckpointFormatError(f"DDPM's variance_type {settings['variance_type']!r} is not supported")
    # In float32 and in diffusers' order: 1 - α/α' cancels, and its rounding is part of what the policy does.
    cumulated, one = scheduler.alphas_cumprod.cpu().numpy().astype(np.float32), np.float32(1)
    last = np.float32(getattr(scheduler, "final_alpha_cumprod", 1.0)) if ddim else one
    stride = settings["num_train_timesteps"] // diffusion.num_inference_steps
    rows = []
    for time in times:
        before = time - stride if ddim else int(scheduler.previous_timestep(time))
        now, then = cumulated[time], cumulated[before] if before >= 0 else last
        a, b = np.sqrt(now), np.sqrt(one - now)
        if ddim and settings["prediction_type"] == "epsilon":
            rows.append((a, b, np.sqrt(then), 0, np.sqrt(one - then), 0))
        elif ddim:
            # The noise is what is left of x beside the predicted sample.
            left = np.sqrt(one - then) / b
            rows.append((a, b, np.sqrt(then), left, -left * a, 0))
        else:
            alpha = now / then
            beta, rest = one - alpha, one - now
            fresh = np.sqrt(max((one - then) / rest * beta, np.float32(1e-20))) if time > 0 else 0
            rows.append((a, b, np.sqrt(then) * beta / rest, np.sqrt(alpha) * (one - then) / rest, 0, fresh))
    return times, np.array(rows, np.float32)


@contextmanager
def _given_noise(fresh: Any) -> Iterator[None]:
    """DDPM's scheduler draws these rows [steps, horizon, action], in order."""
    if fresh is None:
        yield
        return
    ddpm = importlib.import_module("diffusers.schedulers.scheduling_ddpm")
    rows = iter(fresh)
    with ExitStack() as stack:
        stack.enter_context(patched(ddpm, randn_tensor=lambda *_, **__: next(rows)[None]))
        yield


def _stacked(policy: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """The batch with cameras stacked, as LeRobot's select_action has them."""
    import torch

    found = {key: value for key, value in batch.items() if key in (_STATE, _ENVIRONMENT)}
    if policy.config.image_features:
        found[_IMAGES] = torch.stack([batch[key] for key in policy.config.image_features], dim=-4)
    return found
