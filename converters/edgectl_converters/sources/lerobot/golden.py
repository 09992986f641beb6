"""Golden cases: raw observations through LeRobot's own pre-processor, policy and post-processor, noise given.

Runs inside a LeRobot toolchain. Facts: a caller of LeRobot divides frames by 255 and puts channels first; LeRobot's
pipelines take one observation, without history.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgectl_converters.sources.lerobot.card import TASK, Checkpoint
from edgectl_converters.sources.lerobot.loading import Loaded
from edgectl_protos.domain.errors import CheckpointError

__all__ = ["Predict", "batches_of", "golden_actions", "golden_noise", "read_observations"]

Predict = Callable[[Loaded, list[dict[str, Any]], dict[str, Any]], Any]
"""(policy, the history's batches, noise by tensor) to the normalised chunk [1, chunk, action]."""


def read_observations(checkpoint: Checkpoint, file: str) -> dict[str, Any]:
    """Raw observations [case, *observed shape] of every feature.

    Raises:
        CheckpointError: the file lacks a feature, or holds it in another shape.
    """
    import numpy as np

    policy = checkpoint.policy
    with np.load(file, allow_pickle=False) as archive:
        missing = [one.name for one in policy.observations if one.name not in archive.files]
        if missing:
            raise CheckpointError(f"there are no golden observations of {missing[0]}")
        raw = {one.name: archive[one.name] for one in policy.observations}
    cases = {len(values) for values in raw.values()}
    if len(cases) != 1 or cases == {0}:
        raise CheckpointError(f"golden observations have different numbers of cases: {sorted(cases)}")
    for feature in policy.observations:
        shape = policy.observed(feature).shape if feature.name != TASK else ()
        if raw[feature.name].shape[1:] != shape:
            raise CheckpointError(
                f"golden observations of {feature.name} are {list(raw[feature.name].shape[1:])}, not {list(shape)}"
            )
    return raw


def golden_noise(shapes: dict[str, tuple[int, ...]], cases: int, seed: int) -> dict[str, Any]:
    """Seeded noise for each case: [case, *shape] float32 for each tensor."""
    import numpy as np

    random = np.random.default_rng(seed)
    return {name: random.standard_normal((cases, *shape), dtype=np.float32) for name, shape in shapes.items()}


def batches_of(loaded: Loaded, checkpoint: Checkpoint, raw: dict[str, Any], case: int) -> list[dict[str, Any]]:
    """What LeRobot's pre-processor makes of one case, for each observation of its history."""
    import torch

    history = checkpoint.policy.history
    batches = []
    for index in range(history):
        observation: dict[str, Any] = {}
        for one in checkpoint.processing.observed:
            found = raw[one.feature.name][case]
            value = torch.from_numpy(found[index] if history > 1 else found)
            if one.visual:
                value = value.type(torch.float32).div(255).permute(2, 0, 1).contiguous()
            observation[one.feature.name] = value.unsqueeze(0)
        if TASK in raw:
            observation[TASK] = str(raw[TASK][case])
        with torch.inference_mode():
            batches.append(dict(loaded.before(observation)))
    # Tensors of inference mode cannot be traced later.
    return [{key: value.clone() if hasattr(value, "clone") else value for key, value in one.items()} for one in batches]


def golden_actions(
    loaded: Loaded, checkpoint: Checkpoint, raw: dict[str, Any], noise: dict[str, Any], predict: Predict
) -> Any:
    """LeRobot's final actions [case, chunk, action] in float32."""
    import numpy as np
    import torch

    loaded.policy.reset()
    actions = []
    for case in range(len(next(iter(raw.values())))):
        given = {name: torch.from_numpy(values[case].copy()) for name, values in noise.items()}
        batches = batches_of(loaded, checkpoint, raw, case)
        with torch.no_grad():
            chunk = predict(loaded, batches, given)
            actions.append(loaded.after(chunk).cpu().numpy()[0])
    return np.stack(actions).astype(np.float32)
