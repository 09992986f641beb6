"""The stages of one inference, as a chain of functions: read → resize → normalise → infer → un-normalise.

A stage of the loop specification is timed on its own. A step that the specification does not name (nothing
to resize, nothing to normalise) is done with the next one that it does, and what is left at the end with
`merge`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgectl_agent.worker.loop.sources import Source
from edgectl_agent.worker.ops.resize import BilinearResizer
from edgectl_agent.worker.pipeline import Pipeline
from edgectl_agent.worker.release import Array
from edgectl_protos.domain.loop import FeatureKind, LoopSpec, Op, Policy, SourceKind

__all__ = ["Observer", "Stage", "build_stages"]

Step = Callable[[Any], Any]

_RESIZE_HINT = "the camera differs from the training data; add the stage {id: geo, op: resize}"


@dataclass(frozen=True, slots=True)
class Stage:
    """One timed stage."""

    id: str
    op: str
    run: Step
    note: str


class Observer:
    """Reads all sources into one observation, and brings frames to the policy's size if it may."""

    def __init__(self, sources: Sequence[Source], policy: Policy, pipeline: Pipeline, *, resize: bool) -> None:
        self._sources = sources
        self._pipeline = pipeline
        self._visual = {
            feature.name: feature.shape for feature in policy.observations if feature.kind is FeatureKind.VISUAL
        }
        self._resize = resize
        self._resizers: dict[str, BilinearResizer] = {}

    @property
    def oldest_ns(self) -> int:
        """The oldest stamp among the frames last read."""
        return min(source.stamp_ns for source in self._sources)

    def read(self, now_ns: int) -> dict[str, Array]:
        """The latest frame of each source, checked unless it is resized first."""
        observation = {}
        for source in self._sources:
            name = source.spec.feature
            frame = source.read(now_ns)
            if not (self._resize and name in self._visual):
                self._pipeline.check(name, frame, hint=_RESIZE_HINT if name in self._visual else "")
            observation[name] = frame
        return observation

    def resize(self, observation: dict[str, Array]) -> dict[str, Array]:
        """The observation with each frame at the policy's size."""
        for name, shape in self._visual.items():
            frame = observation[name]
            if frame.shape != shape and frame.ndim == 3 and frame.shape[2] == shape[2]:
                resizer = self._resizers.get(name)
                if resizer is None or resizer.source != frame.shape:
                    resizer = self._resizers[name] = BilinearResizer(frame.shape, shape[0], shape[1])
                frame = observation[name] = resizer(frame)
            self._pipeline.check(name, frame)
        return observation


def build_stages(
    spec: LoopSpec, policy: Policy, observer: Observer, pipeline: Pipeline
) -> tuple[tuple[Stage, ...], Step]:
    """The timed stages, and the step that `merge` begins with."""
    steps: list[tuple[Op, Step]] = [
        (Op.DECODE, observer.read),
        *([(Op.RESIZE, observer.resize)] if spec.has(Op.RESIZE) else []),
        (Op.NORMALISE, pipeline.normalise),
        (Op.MODEL, pipeline.infer),
        (Op.UNNORMALISE, pipeline.unnormalise),
    ]
    ids = {stage.op: stage.id for stage in spec.stages}
    stages: list[Stage] = []
    pending: list[Step] = []
    for op, step in steps:
        pending.append(step)
        if op in ids:
            stages.append(Stage(ids[op], op.value, _chain(pending), _note(op, spec, policy)))
            pending = []
    return tuple(stages), _chain(pending)


def _chain(steps: list[Step]) -> Step:
    if len(steps) == 1:
        return steps[0]
    taken = tuple(steps)

    def run(value: Any) -> Any:
        for step in taken:
            value = step(value)
        return value

    return run


def _note(op: Op, spec: LoopSpec, policy: Policy) -> str:
    if op is Op.DECODE:
        decoded = sorted(
            {source.kind.value for source in spec.sources if source.kind in (SourceKind.VIDEO, SourceKind.IMAGE)}
        )
        return ", ".join(decoded) if decoded else "nothing to decode"
    if op is Op.NORMALISE and any(step.folded for step in policy.pre):
        left = sum(not step.folded for step in policy.pre)
        return "frames folded into the graph" if left else "folded into the graph"
    if op is Op.UNNORMALISE and any(step.folded for step in policy.post):
        return "folded into the graph"
    return ""
