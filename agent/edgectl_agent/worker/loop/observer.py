"""Reads all sources into one observation: frames brought to the policy's size where the loop says so, and a history of
observations where the policy takes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgectl_agent.worker.loop.sources import Source
from edgectl_agent.worker.ops.resize import BilinearResizer
from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.release import Array
from edgectl_agent.worker.spans import Site
from edgectl_protos.domain.loop import SourceKind
from edgectl_protos.domain.policy import FeatureKind, Policy

__all__ = ["Observer"]

_RESIZE_HINT = "the camera differs from the training data; set `resize: true` in its source"


class Observer:
    """The sources of a loop. `always`: it must look at every tick, since the policy remembers what it saw."""

    def __init__(self, sources: Sequence[Source], policy: Policy, executor: Executor) -> None:
        self._sources = sources
        self._check = executor.check
        self._visual = {f.name: f.shape for f in policy.observations if f.kind is FeatureKind.VISUAL}
        self._resized = [source.spec.feature for source in sources if source.spec.resize]
        self._resizers: dict[str, BilinearResizer] = {}
        self.always = policy.history > 1
        self._history: dict[str, Array] = {}
        if self.always:
            self._history = {
                f.name: np.zeros((policy.history, *f.shape), f.dtype.value)
                for f in policy.observations
                if f.kind is not FeatureKind.LANGUAGE
            }
        # An instruction does not age.
        self._aging = [source for source in sources if source.spec.kind is not SourceKind.TEXT] or list(sources)
        self._begun = False
        self._observation: dict[str, Any] = {}

    @property
    def sites(self) -> tuple[Site, ...]:
        """Its spans: `dec`, and `geo` where frames are resized."""
        kinds = {source.spec.kind.value for source in self._sources} & {SourceKind.VIDEO.value, SourceKind.IMAGE.value}
        decode = Site("dec", "decode", note=", ".join(sorted(kinds)) or "nothing to decode")
        return (decode, Site("geo", "resize")) if self._resized else (decode,)

    @property
    def oldest_ns(self) -> int:
        """The oldest stamp among the frames last read; texts have none."""
        return min(source.stamp_ns for source in self._aging)

    @property
    def distinct(self) -> int:
        """How many observations differed from the one before: the frames of the slowest source."""
        return min(source.distinct for source in self._aging)

    @property
    def unused(self) -> int:
        """Frames of all sources that came and went unread."""
        return sum(source.unused for source in self._aging)

    def restart(self) -> None:
        """Forget what was seen."""
        self._begun = False

    def read(self, now_ns: int) -> None:
        """Take the latest frame of each source.

        Raises:
            SourceError: a source ended or cannot be read.
            ShapeError: a frame is not of the policy's shape, and is not to be resized.
        """
        for source in self._sources:
            name = source.spec.feature
            frame = source.read(now_ns)
            if not source.spec.resize:
                self._check(name, frame, hint=_RESIZE_HINT if name in self._visual else "", one=True)
            self._observation[name] = frame

    def skip(self, next_read_ns: int) -> None:
        """Skip the frames that will not be read, the next read being at this moment or later."""
        for source in self._aging:
            source.skip(next_read_ns)

    def resize(self) -> None:
        """Bring frames to the policy's size."""
        for name in self._resized:
            frame, shape = self._observation[name], self._visual[name]
            if frame.shape != shape and frame.ndim == 3 and frame.shape[2] == shape[2]:
                resizer = self._resizers.get(name)
                if resizer is None or resizer.source != frame.shape:
                    resizer = self._resizers[name] = BilinearResizer(frame.shape, shape[0], shape[1])
                frame = self._observation[name] = resizer(frame)
            self._check(name, frame, one=True)

    @property
    def resizes(self) -> bool:
        """Whether `resize` does anything."""
        return bool(self._resized)

    def observation(self) -> dict[str, Any]:
        """What enters the program; valid until the next read."""
        return self._observation | self._history if self.always else self._observation

    def remember(self) -> None:
        """Put what was read at the end of the history; the first observation fills it."""
        for name, kept in self._history.items():
            if self._begun:
                kept[:-1] = kept[1:]
                kept[-1] = self._observation[name]
            else:
                kept[:] = self._observation[name]
        self._begun = True
