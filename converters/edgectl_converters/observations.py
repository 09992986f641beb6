"""Raw observations for golden cases and calibration: from footage, or synthetic.

Footage is a folder with one file a feature: `<feature>.mp4` (or .mkv, .avi, .webm), `<feature>.png`/`.jpg`, or
`<feature>.npy` with frames first, and `task.txt` with the instruction; frames are taken evenly over its length, with
the ones before each where the policy has a history. Synthetic frames are smooth noise, since white noise drives a
network into ranges that no camera does; synthetic states follow the statistics of the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import ShapeError, SourceError
from edgectl_protos.domain.loop import SourceKind
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[Any]]

__all__ = ["Spread", "check_footage", "find_footage", "instruction", "observe"]

Spread = tuple[tuple[float, ...], tuple[float, ...]]
"""Offset and scale of a feature's elements: x = z * scale + offset for z ~ N(0, 1)."""

_VIDEOS = (".mp4", ".mkv", ".avi", ".webm")
_IMAGES = (".png", ".jpg", ".jpeg")
_TASK = "task.txt"
_MAX_TASK_BYTES = 1 << 16
_EXAMPLES = (
    "pick up the red cube",
    "place the cup on the saucer",
    "open the top drawer",
    "fold the towel in half",
    "push the block to the left",
    "hand over the screwdriver",
    "stack the two bowls",
    "close the lid of the box",
)


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


def instruction(footage: Path | None, task: str) -> str:
    """The instruction: as given, else the footage's, else empty.

    Raises:
        SourceError: the footage's cannot be read.
    """
    if task or footage is None or not (footage / _TASK).is_file():
        return task
    try:
        with open(footage / _TASK, "rb") as file:
            return file.read(_MAX_TASK_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise SourceError(f"{_TASK} of the footage is no text: {exc}") from exc


def observe(
    policy: Policy,
    footage: Path | None,
    spread: Mapping[str, Spread],
    *,
    count: int,
    seed: int,
    task: str = "",
    resized: frozenset[str] = frozenset(),
) -> Arrays:
    """`count` raw observations: {feature: [count, *observed shape]} in the feature's own dtype, texts as unicode.

    Features for which the footage has no file are synthetic; `spread` says where their values lie. Frames of the
    features in `resized` may have another size.

    Raises:
        SourceError: a file of the footage cannot be read.
        ShapeError: it has another shape than the policy takes.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    text = instruction(footage, task)
    observations: Arrays = {}
    for feature in policy.observations:
        found = find_footage(footage, feature.name) if footage is not None else None
        if feature.kind is FeatureKind.LANGUAGE:
            texts = [text] * count if text else [_EXAMPLES[pick] for pick in rng.integers(0, len(_EXAMPLES), count)]
            observations[feature.name] = np.array(texts, np.str_)
            continue
        if found is None:
            values = _synthetic(feature, spread.get(feature.name), count, policy.history, rng)
        else:
            values = _recorded(feature, *found, count, policy.history, resized=feature.name in resized)
        observations[feature.name] = values if policy.history > 1 else values[:, 0]
    return observations


def check_footage(policy: Policy, footage: Path, *, resized: frozenset[str] = frozenset()) -> None:
    """See that every file of the footage can be read and fits its feature, but for the frames that are resized.

    Raises:
        SourceError: a file of the footage cannot be read.
        ShapeError: it has another shape than the policy takes.
    """
    for feature in policy.observations:
        found = find_footage(footage, feature.name)
        if found is not None and feature.name not in resized:
            _recorded(feature, *found, 1, 1)


def _recorded(
    feature: Feature, file: Path, kind: SourceKind, count: int, history: int, *, resized: bool = False
) -> npt.NDArray[Any]:
    """[count, history, *shape]."""
    import numpy as np

    read = _read_array if kind is SourceKind.RECORDED else _decode
    values = read(file, lambda frames: _picks(frames, count, history))
    if resized and values.ndim == 4 and values.shape[3] == feature.shape[2]:
        # An observation like the camera's, for cases of the policy's size; the device resizes more finely.
        rows, columns = (
            np.arange(new) * old // new for new, old in zip(feature.shape[:2], values.shape[1:3], strict=True)
        )
        values = values[:, rows][:, :, columns]
    if values.shape[1:] != feature.shape:
        raise ShapeError(
            f"{file.name} holds {list(values.shape[1:])}, the policy takes {list(feature.shape)}",
            hint="record at the size that the policy was trained on",
        )
    if not np.isfinite(values).all():
        raise SourceError(f"{file.name} holds values that are not finite", hint="record it again")
    shaped = values.reshape(count, history, *feature.shape)
    return np.ascontiguousarray(shaped, np.dtype(feature.dtype.value))


def _picks(frames: int, count: int, history: int) -> list[int]:
    """`count` frames, evenly, each after those before it: the first stands in for what came before the footage."""
    import numpy as np

    ends = [int(pick) for pick in np.linspace(0, frames - 1, count).round()]
    return [max(0, end - back) for end in ends for back in reversed(range(history))]


def _read_array(file: Path, picks: Callable[[int], list[int]]) -> npt.NDArray[Any]:
    import numpy as np

    try:
        frames = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as exc:
        raise SourceError(f"{file.name} is not an .npy array: {exc}") from exc
    if frames.ndim == 0 or not len(frames) or frames.dtype.kind not in "fiub":
        raise SourceError(f"{file.name} holds no frames of numbers: {frames.dtype} {list(frames.shape)}")
    return np.stack([frames[pick] for pick in picks(len(frames))])


def _decode(file: Path, picks: Callable[[int], list[int]]) -> npt.NDArray[Any]:
    """Decodes twice, once to count: all frames of a long video do not fit into memory."""
    import av
    import numpy as np

    try:
        with av.open(str(file)) as container:
            length = sum(1 for _ in container.decode(video=0))
        if not length:
            raise SourceError(f"{file.name} holds no frames")
        wanted = picks(length)
        chosen = set(wanted)
        with av.open(str(file)) as container:
            taken = {
                index: frame.to_ndarray(format="rgb24")
                for index, frame in enumerate(container.decode(video=0))
                if index in chosen
            }
    except (av.error.FFmpegError, OSError, IndexError) as exc:
        raise SourceError(f"{file.name} does not decode: {exc}", hint="play it, or record it again") from exc
    return np.stack([taken[pick] for pick in wanted])


def _synthetic(
    feature: Feature, spread: Spread | None, count: int, history: int, rng: np.random.Generator
) -> npt.NDArray[Any]:
    """[count, history, *shape]."""
    import numpy as np

    shape = (count, history, *feature.shape)
    if feature.kind is FeatureKind.VISUAL:
        frames = [_smooth_frame(feature.shape, rng) for _ in range(count * history)]
        return np.stack(frames).reshape(shape)
    if feature.dtype in (DType.FLOAT16, DType.FLOAT32, DType.FLOAT64):
        values = rng.normal(0.0, 1.0, shape)
        if spread is not None:
            # Normalised values are spread like N(0, 1); this is where they come from.
            offset, scale = (np.array(part, np.float64).reshape(feature.shape) for part in spread)
            values = values * scale + offset
        return values.astype(feature.dtype.value)
    return rng.integers(0, 2, shape).astype(feature.dtype.value)


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
