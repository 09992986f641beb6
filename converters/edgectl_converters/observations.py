"""Raw observations for golden cases and calibration: from footage, or synthetic.

Footage is a folder with one file a feature: `<feature>.mp4` (or .mkv, .avi, .webm), `<feature>.png`/`.jpg`, or
`<feature>.npy` with frames first; frames are taken evenly over its length. Synthetic frames are smooth noise, since
white noise drives a network into ranges that no camera does; synthetic states follow the statistics of the policy.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import ShapeError, SourceError
from edgectl_protos.domain.loop import Feature, FeatureKind, SourceKind

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[Any]]

__all__ = ["check_footage", "find_footage", "observe"]

_VIDEOS = (".mp4", ".mkv", ".avi", ".webm")
_IMAGES = (".png", ".jpg", ".jpeg")


def find_footage(footage: Path, feature: str) -> tuple[Path, SourceKind] | None:
    """The file that holds this feature, and what kind of source it is.

    Raises:
        SourceError: the folder does not exist.
    """
    if not footage.is_dir():
        raise SourceError(f"no footage at {footage}", hint="a folder with one file a feature: <feature>.mp4 or .npy")
    suffixes = dict.fromkeys(_VIDEOS, SourceKind.VIDEO) | dict.fromkeys(_IMAGES, SourceKind.IMAGE)
    for suffix, kind in (suffixes | {".npy": SourceKind.RECORDED}).items():
        file = footage / f"{feature}{suffix}"
        if file.exists():
            return file, kind
    return None


def observe(features: tuple[Feature, ...], footage: Path | None, arrays: Arrays, *, count: int, seed: int) -> Arrays:
    """`count` raw observations: {feature: [count, *shape]} in the feature's own dtype.

    Features for which the footage has no file are synthetic. `arrays` are the processing arrays.

    Raises:
        SourceError: a file of the footage cannot be read.
        ShapeError: it has another shape than the policy takes.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    observations: Arrays = {}
    for feature in features:
        found = find_footage(footage, feature.name) if footage is not None else None
        if found is None:
            observations[feature.name] = _synthetic(feature, arrays, count, rng)
        else:
            observations[feature.name] = _recorded(feature, *found, count)
    return observations


def check_footage(features: tuple[Feature, ...], footage: Path) -> None:
    """See that every file of the footage can be read and fits its feature.

    Raises:
        SourceError: a file of the footage cannot be read.
        ShapeError: it has another shape than the policy takes.
    """
    for feature in features:
        found = find_footage(footage, feature.name)
        if found is not None:
            _recorded(feature, *found, 1)


def _recorded(feature: Feature, file: Path, kind: SourceKind, count: int) -> npt.NDArray[Any]:
    import numpy as np

    if kind is SourceKind.RECORDED:
        values = _read_array(file, count)
    else:
        values = _decode(file, count)
    if values.shape[1:] != feature.shape:
        raise ShapeError(
            f"{file.name} holds {list(values.shape[1:])}, the policy takes {list(feature.shape)}",
            hint="record at the size that the policy was trained on",
        )
    if not np.isfinite(values).all():
        raise SourceError(f"{file.name} holds values that are not finite", hint="record it again")
    return np.ascontiguousarray(values, np.dtype(feature.dtype.value))


def _picks(frames: int, count: int) -> list[int]:
    import numpy as np

    return [int(pick) for pick in np.linspace(0, frames - 1, count).round()]


def _read_array(file: Path, count: int) -> npt.NDArray[Any]:
    import numpy as np

    try:
        frames = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as exc:
        raise SourceError(f"{file.name} is not an .npy array: {exc}") from exc
    if frames.ndim == 0 or not len(frames) or frames.dtype.kind not in "fiub":
        raise SourceError(f"{file.name} holds no frames of numbers: {frames.dtype} {list(frames.shape)}")
    return np.stack([frames[pick] for pick in _picks(len(frames), count)])


def _decode(file: Path, count: int) -> npt.NDArray[Any]:
    """Decodes twice, once to count: all frames of a long video do not fit into memory."""
    import av
    import numpy as np

    try:
        with av.open(str(file)) as container:
            length = sum(1 for _ in container.decode(video=0))
        if not length:
            raise SourceError(f"{file.name} holds no frames")
        picks = _picks(length, count)
        with av.open(str(file)) as container:
            taken = {
                index: frame.to_ndarray(format="rgb24")
                for index, frame in enumerate(container.decode(video=0))
                if index in picks
            }
    except (av.error.FFmpegError, OSError, IndexError) as exc:
        raise SourceError(f"{file.name} does not decode: {exc}", hint="play it, or record it again") from exc
    return np.stack([taken[pick] for pick in picks])


def _synthetic(feature: Feature, arrays: Arrays, count: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    import numpy as np

    shape = (count, *feature.shape)
    if feature.kind is FeatureKind.VISUAL:
        return np.stack([_smooth_frame(feature.shape, rng) for _ in range(count)])
    if feature.dtype in (DType.INT8, DType.UINT8, DType.INT32, DType.INT64, DType.BOOL):
        return rng.integers(0, 2, shape).astype(feature.dtype.value)
    values = rng.normal(0.0, 1.0, shape)
    if f"pre.{feature.name}.mul" in arrays:
        mul = arrays[f"pre.{feature.name}.mul"].reshape(feature.shape).astype(np.float64)
        add = arrays[f"pre.{feature.name}.add"].reshape(feature.shape).astype(np.float64)
        # Normalised values are spread like N(0, 1); this is where they come from.
        values = (values - add) / mul
    return values.astype(feature.dtype.value)


def _smooth_frame(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    import numpy as np

    height, width, channels = shape
    coarse = rng.uniform(0, 255, (8, 8, channels))
    rows, columns = np.linspace(0, 7, height), np.linspace(0, 7, width)
    top, left = np.minimum(rows.astype(int), 6), np.minimum(columns.astype(int), 6)
    down, right = (rows - top)[:, None, None], (columns - left)[None, :, None]
    upper = coarse[top][:, left] * (1 - right) + coarse[top][:, left + 1] * right
    lower = coarse[top + 1][:, left] * (1 - right) + coarse[top + 1][:, left + 1] * right
    frame = upper * (1 - down) + lower * down + rng.normal(0, 4, shape)
    smooth: npt.NDArray[np.uint8] = np.clip(frame, 0, 255).astype(np.uint8)
    return smooth
