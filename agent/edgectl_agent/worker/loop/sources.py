"""Sources of observations: recorded arrays, seeded noise, and (decoding on demand) videos and images.

Paced, a source has a new frame at t0 + phase + k/fps, as a camera would that runs whether it is read or not: a read
between two frames gives the same one again, without work, and frames that came and went unread are `unused`. A frame is
stamped with the moment it was taken, `delay` before it came. What nobody will read is skipped between ticks (`skip`),
where the decoding of a video would not be part of one. Unpaced (warm-up, closed loop), every read takes the next frame
and stamps it with the time of the read.
"""

from __future__ import annotations

import abc
from pathlib import Path

import numpy as np

from edgectl_agent.worker.loop.schedule import Grid
from edgectl_agent.worker.ops.decode import ImageDecoder, VideoDecoder
from edgectl_agent.worker.release import UNREADABLE, Array, Release
from edgectl_protos.domain.errors import ShapeError, SourceError
from edgectl_protos.domain.loop import OnEnd, SourceKind, SourceSpec
from edgectl_protos.domain.policy import Feature

__all__ = ["Source", "open_source"]

_RING = 8


class Source(abc.ABC):
    """One stream of observations for one feature.

    `stamp_ns` is when the last frame handed out was taken; `distinct` counts those handed out since `start`, `unused`
    those that were not.
    """

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        self.stamp_ns = 0
        self.distinct = 0
        self.unused = 0
        self._delay_ns = round(spec.delay_s * 1e9)
        self._grid: Grid | None = None
        self._repeat = True
        self._slot: int | None = None
        self._frame: Array | None = None

    def start(self, *, repeat: bool) -> None:
        """Begin from the first frame, unpaced."""
        self._grid = None
        self._repeat = repeat
        self._slot = None
        self._frame = None
        self.distinct = self.unused = 0
        self._rewind()

    def pace(self, ticks: Grid) -> None:
        """Have new frames at the source's own rate, or with each tick, from the first tick on."""
        fps = self.spec.fps or ticks.rate_hz
        # The first tick is shown the frame before it, since the source ran before the loop did.
        phase_s = self.spec.phase_s % (1 / fps)
        self._grid = Grid(ticks.t0_ns + round(phase_s * 1e9), fps)

    def read(self, now_ns: int) -> Array:
        """The latest frame at this moment.

        Raises:
            SourceError: the source ended, or its content cannot be read.
        """
        if self._grid is None:
            self.stamp_ns = now_ns
        else:
            slot = self._grid.latest(now_ns)
            if slot == self._slot and self._frame is not None:
                return self._frame
            self._skip_before(slot)
            self._slot = slot
            self.stamp_ns = self._grid.at(slot) - self._delay_ns
        self._frame = self._advance()
        self.distinct += 1
        return self._frame

    def skip(self, next_read_ns: int) -> None:
        """Skip what will not be read, the next read being at this moment or later.

        Raises:
            SourceError: the source ended, or its content cannot be read.
        """
        if self._grid is not None:
            self._skip_before(self._grid.latest(next_read_ns))

    def _skip_before(self, slot: int) -> None:
        while self._slot is not None and self._slot < slot - 1:
            self._slot += 1
            self._advance()
            self.unused += 1

    def close(self) -> None:
        """Give back files."""
        self._frame = None

    def _advance(self) -> Array:
        frame = self._next()
        if frame is None and self._repeat and self.distinct:
            self._rewind()
            frame = self._next()
        if frame is None:
            raise SourceError(
                f"the source of {self.spec.feature} ended at frame {self.distinct + self.unused} ({self.spec.path})",
                hint="measure for a shorter time (edgectl profile --measure), or set on_end: repeat",
            )
        return frame

    @abc.abstractmethod
    def _next(self) -> Array | None:
        """The next frame, or None at the end."""

    @abc.abstractmethod
    def _rewind(self) -> None:
        """Go back to the first frame."""


class _ArraySource(Source):
    """Frames of an array `[frames, ...]`, in memory or mapped from a file."""

    def __init__(self, spec: SourceSpec, frames: Array, *, endless: bool) -> None:
        super().__init__(spec)
        self._frames = frames
        self._endless = endless
        self._index = 0

    def _next(self) -> Array | None:
        if self._index >= len(self._frames):
            if not self._endless or not len(self._frames):
                return None
            self._index = 0
        frame: Array = self._frames[self._index]
        self._index += 1
        return frame

    def _rewind(self) -> None:
        self._index = 0


class _TextSource(Source):
    """An instruction, the same at every read."""

    def __init__(self, spec: SourceSpec) -> None:
        super().__init__(spec)
        self._text = np.array(spec.text)

    def _next(self) -> Array | None:
        return self._text

    def _rewind(self) -> None:
        pass


class _VideoSource(Source):
    def __init__(self, spec: SourceSpec, path: Path) -> None:
        super().__init__(spec)
        self._decoder = VideoDecoder(path)

    def _next(self) -> Array | None:
        return self._decoder.read()

    def _rewind(self) -> None:
        self._decoder.rewind()

    def close(self) -> None:
        super().close()
        self._decoder.close()


class _ImageSource(Source):
    def __init__(self, spec: SourceSpec, path: Path) -> None:
        super().__init__(spec)
        self._decoder = ImageDecoder(path)

    def _next(self) -> Array | None:
        return self._decoder.read()

    def _rewind(self) -> None:
        pass

    def close(self) -> None:
        super().close()
        self._decoder.close()


def open_source(spec: SourceSpec, feature: Feature, release: Release) -> Source:
    """Open the source of a feature.

    Raises:
        SourceError: its file is missing or not what its kind says.
        ShapeError: a recording is not of the feature's shape.
    """
    if spec.kind is SourceKind.TEXT:
        return _TextSource(spec)
    if spec.kind is SourceKind.SYNTHETIC:
        return _ArraySource(spec, _noise(feature, spec.seed), endless=True)
    path = release.path(spec.path)
    if spec.kind is SourceKind.RECORDED:
        return _ArraySource(spec, _recording(path, feature), endless=False)
    return _VideoSource(spec, path) if spec.kind is SourceKind.VIDEO else _ImageSource(spec, path)


def repeats(spec: SourceSpec) -> bool:
    """Whether the source begins anew at its end."""
    return spec.on_end is OnEnd.REPEAT


def _recording(path: Path, feature: Feature) -> Array:
    try:
        # Copy on write: the file stays as it is, and runtimes that share only writeable memory share it.
        frames = np.load(path, mmap_mode="c", allow_pickle=False)
    except UNREADABLE as exc:
        raise SourceError(f"{path.name} is not a readable .npy recording: {exc}") from exc
    if not isinstance(frames, np.ndarray) or frames.ndim != len(feature.shape) + 1:
        shape = list(frames.shape) if isinstance(frames, np.ndarray) else "no array"
        raise ShapeError(f"{path.name} is {shape}; a recording of {feature.name} is [frames, *{list(feature.shape)}]")
    return frames.view(np.ndarray)


def _noise(feature: Feature, seed: int) -> Array:
    shape = (_RING, *(1 if size == -1 else size for size in feature.shape))
    random = np.random.default_rng(seed)
    kind = np.dtype(feature.dtype.value)
    if kind == np.uint8:
        return random.integers(0, 256, shape, dtype=np.uint8)
    if kind.kind == "f":
        return random.standard_normal(shape).astype(kind)
    # Integers of a bare graph are mostly indices, of which 0 and 1 are always valid.
    return random.integers(0, 2, shape).astype(kind)
