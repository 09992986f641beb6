"""What the testkit's small denoisers have in common: cameras seen one by one, a state, a prefix that is computed once,
and passes that read it. They draw noise; their joints are in degrees and their gripper in metres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.loop import Deadlines, Execution, LoopSpec, OnEnd, SourceKind, SourceSpec
from edgectl_protos.domain.policy import Dimension, Feature, FeatureKind, Policy
from edgectl_protos.domain.program import (
    Call,
    Fit,
    Integrate,
    Noise,
    Normalise,
    Prediction,
    Program,
    Repeat,
    Resize,
    Step,
    Unnormalise,
)
from edgectl_testkit.programs import component, spec

__all__ = ["Array", "Denoiser"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Denoiser:
    """One of them, by its sizes. `cameras` and `state` are features, a camera by its name in the program; frames of
    `frame` (height, width) are seen as `planes` (height, width). `memory` is what the prefix leaves to each pass.
    """

    name: str
    cameras: Mapping[str, str]
    state: str
    frame: tuple[int, int]
    planes: tuple[int, int]
    tokens: tuple[int, ...]
    dimensions: tuple[str, ...]
    state_size: int
    chunk: int
    use: int
    passes: int
    memory: tuple[TensorSpec, ...]

    def policy(self, *more: Feature) -> Policy:
        """Cameras, the state, and what else is observed."""
        frames = (Feature(name, FeatureKind.VISUAL, DType.UINT8, (*self.frame, 3)) for name in self.cameras.values())
        return Policy(
            type=self.name,
            observations=(*frames, Feature(self.state, FeatureKind.STATE, DType.FLOAT32, (self.state_size,)), *more),
            action=Feature("action", FeatureKind.ACTION, DType.FLOAT32, (len(self.dimensions),)),
            chunk_size=self.chunk,
            n_action_steps=self.use,
            dimensions=tuple(map(Dimension, self.dimensions)),
        )

    def program(self, prefix: Mapping[str, str], *before: Step, tensors: Sequence[TensorSpec] = ()) -> Program:
        """See, feel, compute the prefix of these inputs, denoise. `before` the prefix, steps that write `tensors`."""
        specs: list[TensorSpec] = []
        steps: list[Step] = []
        for camera, feature in self.cameras.items():
            frame = feature
            if self.planes != self.frame:
                frame = f"{camera}.frame"
                specs.append(spec(frame, *self.planes, 3))
                steps.append(Resize(f"resize.{camera}", feature, frame, Fit.PAD))
            specs += [spec(f"{camera}.planes", 3, *self.planes), spec(f"{camera}.tokens", *self.tokens)]
            steps += [
                Normalise(f"norm.{camera}", frame, f"{camera}.planes", f"pre.{camera}", planes=True),
                Call(f"see.{camera}", "vision", {"image": f"{camera}.planes"}, {"tokens": f"{camera}.tokens"}),
            ]
        names = {one.name: one.name for one in self.memory}
        steps += [
            Normalise("norm.state", self.state, "felt", "pre.state"),
            *before,
            Call("prefix", "prefix", {**prefix, "felt": "felt"}, names),
            Noise("noise", "x"),
            Repeat(
                "denoise",
                self.passes,
                (
                    Call("step", "step", {"x": "x", "time": "time", **names}, {"velocity": "velocity"}),
                    Integrate("euler", "x", "velocity", "euler", Prediction.VELOCITY),
                ),
                {"time": "times"},
            ),
            Unnormalise("post", "x", "action", "post.action"),
        ]
        specs += [spec("felt", self.state_size), *tensors, *self.memory, spec("time", 1)]
        specs += [spec(name, self.chunk, len(self.dimensions)) for name in ("x", "velocity", "action")]
        return Program(tuple(specs), tuple(steps), "action", arrays="arrays.npz")

    def arrays(self, frame_scale: float, state: Array, action: Array) -> dict[str, Array]:
        """What the program's steps name: statistics, of the state and of the action as [offset, scale], and the Euler
        steps from t = 1 to 0.
        """
        found: dict[str, Array] = {}
        for camera in self.cameras:
            found |= {f"pre.{camera}.offset": np.full(3, 127.5), f"pre.{camera}.scale": np.full(3, frame_scale)}
        for name, statistics in (("pre.state", state), ("post.action", action)):
            found |= {f"{name}.offset": statistics[0], f"{name}.scale": statistics[1]}
        found["euler"] = np.tile([0, 0, 0, 1, -1 / self.passes, 0], (self.passes, 1))
        found["times"] = np.linspace(1, 1 / self.passes, self.passes)[:, None]
        return {name: value.astype(np.float32) for name, value in found.items()}

    def vision(self) -> Component:
        """Planes to tokens."""
        return component("vision", [spec("image", 1, 3, *self.planes)], [spec("tokens", *self.tokens)])

    def prefix(self, *more: TensorSpec) -> Component:
        """Tokens of all cameras, the state and what else enters to the memory."""
        seen = (spec(camera, *self.tokens) for camera in self.cameras)
        return component("prefix", [*seen, *more, spec("felt", 1, self.state_size)], self.memory)

    def step(self) -> Component:
        """A pass: noise, its time and the memory to a velocity."""
        size = (1, self.chunk, len(self.dimensions))
        return component("step", [spec("x", *size), spec("time", 1), *self.memory], [spec("velocity", *size)])

    def loop(self, *more: SourceSpec) -> LoopSpec:
        """A loop over synthetic frames and states, at 10 Hz."""
        names = enumerate((*self.cameras.values(), self.state))
        made = (SourceSpec(name, SourceKind.SYNTHETIC, seed=seed, on_end=OnEnd.REPEAT) for seed, name in names)
        deadlines = Deadlines.of_tick(0.1)
        return LoopSpec(self.name, 10.0, (*made, *more), Execution(use=self.use), deadlines, measure_s=0.5)
