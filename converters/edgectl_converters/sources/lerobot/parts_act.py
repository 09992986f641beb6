"""ACT: one component, `act`, from all normalised observations to the normalised chunk.

Runs inside a LeRobot toolchain. Facts: the latent is zero when acting; with temporal ensembling LeRobot's own queue is
replaced by a running mean over chunks, so golden cases are the ticks of one episode.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgectl_converters.sources.lerobot.card import Checkpoint
from edgectl_converters.sources.lerobot.join_tokens import join_tokens
from edgectl_converters.sources.lerobot.loading import Loaded
from edgectl_converters.sources.lerobot.parts import Split, make_part, tensor_of
from edgectl_converters.sources.lerobot.program import entering
from edgectl_protos.domain.program import Call

__all__ = ["predict", "split"]


def predict(loaded: Loaded, batches: list[dict[str, Any]], noise: dict[str, Any]) -> Any:
    """LeRobot's own chunk [1, chunk, action], normalised; one action of the running mean where it ensembles."""
    policy = loaded.policy
    if policy.config.temporal_ensemble_coeff is not None:
        return policy.select_action(batches[-1])[:, None]
    return policy.predict_action_chunk(batches[-1])


@contextmanager
def split(loaded: Loaded, checkpoint: Checkpoint, batches: list[dict[str, Any]], pad_id: int) -> Iterator[Split]:
    """The whole net as one part, its lists of tokens joined."""
    import torch

    net, observed = loaded.policy.model, checkpoint.processing.observed

    class Net(torch.nn.Module):  # type: ignore[misc]
        """ACT's net with one input a feature."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, *values: Any) -> Any:
            batch = {one.policy_name: value for one, value in zip(observed, values, strict=True) if not one.visual}
            frames = [value for one, value in zip(observed, values, strict=True) if one.visual]
            if frames:
                batch["observation.images"] = frames
            return self.net(batch)[0]

    inputs = {one.short: batches[-1][one.policy_name] for one in observed}
    part = make_part("act", Net(), inputs, ("chunk",), rewrite=join_tokens)
    call = Call("act", "act", {one.short: entering(one) for one in observed}, {"chunk": "chunk"})
    yield Split((part,), (call,), (tensor_of("chunk", part.outputs["chunk"]),), "chunk")
