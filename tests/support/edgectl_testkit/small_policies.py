"""Policies of a state, frames or both, and observations of theirs: what programs under test begin from."""

from __future__ import annotations

import numpy as np

from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy

__all__ = [
    "ACTION",
    "CHUNK",
    "HEIGHT",
    "STATE_DIM",
    "WIDTH",
    "policy",
    "random_frame",
    "random_normal",
    "random_state",
    "the_frame",
    "the_state",
]

HEIGHT, WIDTH = 6, 8
CHUNK, ACTION, STATE_DIM = 4, 2, 3


def policy(*observations: Feature, chunk: int = CHUNK, action: tuple[int, ...] = (ACTION,), history: int = 1) -> Policy:
    """A policy of these observations; of a state alone where none is named."""
    return Policy(
        type="test",
        observations=observations or (the_state(),),
        action=Feature("action", FeatureKind.ACTION, DType.FLOAT32, action),
        chunk_size=chunk,
        n_action_steps=1,
        history=history,
    )


def the_state(name: str = "state") -> Feature:
    """A state."""
    return Feature(name, FeatureKind.STATE, DType.FLOAT32, (STATE_DIM,))


def the_frame(name: str = "cam") -> Feature:
    """A camera."""
    return Feature(name, FeatureKind.VISUAL, DType.UINT8, (HEIGHT, WIDTH, 3))


def random_state(seed: int = 0, *lead: int) -> np.ndarray:
    """States, as many as the leading dimensions say."""
    return random_normal(*lead, STATE_DIM, seed=seed)


def random_frame(seed: int = 0, *lead: int) -> np.ndarray:
    """Frames, as many as the leading dimensions say."""
    return np.random.default_rng(seed).integers(0, 256, (*lead, HEIGHT, WIDTH, 3), dtype=np.uint8)


def random_normal(*shape: int, seed: int = 9) -> np.ndarray:
    """Noise."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
