"""A policy: what it observes and does, as its checkpoint says it. How, as data, is its program (`program.py`)."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from edgectl_protos.domain.artifact import DType, TensorSpec, check_shape
from edgectl_protos.domain.errors import ProgramError

__all__ = ["MAX_CHUNK", "MAX_HISTORY", "Dimension", "Feature", "FeatureKind", "Policy"]

MAX_CHUNK = 100_000
MAX_HISTORY = 10_000
"""Beyond such numbers a document is wrong, not a robot slow."""


class FeatureKind(enum.Enum):
    """What a feature is; LeRobot's names."""

    VISUAL = "VISUAL"
    STATE = "STATE"
    ENV = "ENV"
    ACTION = "ACTION"
    LANGUAGE = "LANGUAGE"
    """A text: an instruction that is observed; token ids that are answered."""
    TENSOR = "TENSOR"
    """An input of a bare graph, about which nothing more is known."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One observation or action as the robot has it: frames are uint8 HWC, state and action float32, an instruction
    is a text of shape (). `shape` has no batch dimension, for an action no chunk, and no history.
    """

    name: str
    kind: FeatureKind
    dtype: DType
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        check_shape(self.shape, self.name)


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension of the action. With `at` it has two classes, below it and from it on: a gripper, open or shut."""

    name: str
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What a checkpoint says about itself before anything is exported.

    `chunk_size` actions are predicted at once, of which `n_action_steps` are executed before the next inference.
    `history`: how many observations, one a tick, enter an inference; beyond 1 each observed tensor has that leading
    dimension, the oldest first, and the first observation fills it at the start. `dimensions` are those of the
    flattened action, empty where nobody named them.
    """

    type: str
    observations: tuple[Feature, ...]
    action: Feature
    chunk_size: int
    n_action_steps: int
    history: int = 1
    dimensions: tuple[Dimension, ...] = ()

    def __post_init__(self) -> None:
        size = math.prod(self.action.shape)
        if self.dimensions and -1 not in self.action.shape and len(self.dimensions) != size:
            raise ProgramError(f"{len(self.dimensions)} dimensions are named, of an action of {size}")
        if not 1 <= self.n_action_steps <= self.chunk_size <= MAX_CHUNK:
            raise ProgramError(f"{self.n_action_steps} actions of a chunk of {self.chunk_size} cannot be executed")
        if not 1 <= self.history <= MAX_HISTORY:
            raise ProgramError(f"a history of {self.history} observations makes no sense")
        names = [feature.name for feature in self.observations]
        if len(set(names)) != len(names):
            raise ProgramError(f"two observations have one name: {', '.join(sorted(names))}")

    @property
    def is_text(self) -> bool:
        """Whether it answers with a text: its action are token ids."""
        return self.action.kind is FeatureKind.LANGUAGE

    def observation(self, name: str) -> Feature | None:
        """The observation of this name."""
        return next((feature for feature in self.observations if feature.name == name), None)

    def observed(self, feature: Feature) -> TensorSpec:
        """The tensor in which a feature enters the program."""
        shape = feature.shape if self.history == 1 else (self.history, *feature.shape)
        return TensorSpec(feature.name, feature.dtype, shape)
