"""Footage: a folder of recordings, one file a feature.

`<feature>.mp4` (or .mkv, .avi, .webm), `<feature>.png`/`.jpg`, or `<feature>.npy` with frames first, and `task.txt`
with the instruction. Frames are taken evenly over its length, with the ones before each where the policy has a history:
each from the middle of an equal stretch, so that draws of different counts (calibration, proof) take different frames.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import ShapeError, SourceError
from edgectl_protos.domain.loop import SourceKind
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

__all__ = ["check_footage", "find_footage", "instruction", "match_footage", "picked", "recorded"]

_VIDEOS = (".mp4", ".mkv", ".avi", ".webm")
_IMAGES = (".png", ".jpg", ".jpeg")
_TASK = "task.txt"
_MAX_TASK_BYTES = 1 << 16


def find_footage(footage: Path, feature: str) -> tuple[Path, SourceKind] | None:
    """The file that holds this feature, and what kind of source it is.

    Raises:
        SourceError: the folder does not exist.
    """
    if not footage.is_dir():
        raise SourceError(f"no footage at {footage}", hint="a folder with one file a feature: <feature>.mp4 or .npy")
    suffixes = dict.fromkeys(_VIDEOS, SourceKind.VIDEO) | dict.fromkeys(_IMAGES, SourceKind.IMAGE)
    # Names of a graph's tensors may look like paths.
    stem = feature.replace("/", "_")
    for suffix, kind in (suffixes | {".npy": SourceKind.RECORDED}).items():
        file = footage / f"{stem}{suffix}"
        if _exists(file):
            return file, kind
    return None


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except (OSError, ValueError):
        # A name that no file can have.
        return False


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


def match_footage(policy: Policy, footage: Path | None) -> dict[str, Path]:
    """The file of each feature that the footage has.

    Raises:
        SourceError: the folder does not exist, or has nothing of this policy.
    """
    if footage is None:
        return {}
    found = {feature.name: find_footage(footage, feature.name) for feature in policy.observations}
    files = {name: match[0] for name, match in found.items() if match is not None}
    told = (footage / _TASK).is_file() and any(one.kind is FeatureKind.LANGUAGE for one in policy.observations)
    if not files and not told:
        has = sorted(file.name for file in footage.iterdir())
        wanted = [_wanted(feature) for feature in policy.observations]
        raise SourceError(
            f"nothing in {footage} is of this policy: it has {_few(has) or 'nothing'}; wanted {_few(wanted)}",
            hint="rename the recordings to the policy's own names: edgectl inspect CHECKPOINT",
        )
    return files


def _wanted(feature: Feature) -> str:
    if feature.kind is FeatureKind.LANGUAGE:
        return _TASK
    return f"{feature.name.replace('/', '_')}.{'mp4' if feature.kind is FeatureKind.VISUAL else 'npy'}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def check_footage(policy: Policy, footage: Path, *, resized: frozenset[str] = frozenset()) -> None:
    """See that every file of the footage can be read and fits its feature; frames of `resized` fit at any size.

    Raises:
        SourceError: a file of the footage cannot be read.
        ShapeError: it has another shape than the policy takes.
    """
    for feature in policy.observations:
        found = find_footage(footage, feature.name)
        if found is not None:
            recorded(feature, *found, 1, 1, resized=feature.name in resized)


def recorded(
    feature: Feature, file: Path, kind: SourceKind, count: int, history: int, *, resized: bool = False
) -> tuple[Array, int]:
    """`[count, history, *shape]` in the feature's dtype, and how many frames the file has.

    Raises:
        SourceError: the file cannot be read, or holds values that are not finite.
        ShapeError: it has another shape than the policy takes.
    """
    import numpy as np

    if kind is not SourceKind.RECORDED and feature.dtype is not DType.UINT8:
        raise ShapeError(
            f"{file.name} holds frames of bytes, and the policy takes {feature.dtype.value}",
            hint=f"record what enters the policy as an array: {file.stem}.npy, frames first",
        )
    length = 0

    def picks(frames: int) -> list[int]:
        nonlocal length
        length = frames
        # The first stands in for what came before the footage.
        return [max(0, end - back) for end in picked(frames, count) for back in reversed(range(history))]

    values = _read_array(file, picks) if kind is SourceKind.RECORDED else _decode(file, picks)
    if resized and values.ndim == 4 and values.shape[3] == feature.shape[2]:
        values = np.stack([_stretched(frame, feature.shape[0], feature.shape[1]) for frame in values])
    if values.shape[1:] != feature.shape:
        fits = values.ndim == 4 and len(feature.shape) == 3 and values.shape[3] == feature.shape[2]
        cure = "or have the loop resize it: edgectl init CHECKPOINT -o loop.yaml, then resize: true" if fits else ""
        raise ShapeError(
            f"{file.name} holds {list(values.shape[1:])}, the policy takes {list(feature.shape)}",
            hint=f"record at the size that the policy was trained on{', ' + cure if cure else ''}",
        )
    if not np.isfinite(values).all():
        raise SourceError(f"{file.name} holds values that are not finite", hint="record it again")
    shaped = values.reshape(count, history, *feature.shape)
    return np.ascontiguousarray(shaped, np.dtype(feature.dtype.value)), length


def picked(frames: int, count: int) -> list[int]:
    """`count` frames, each from the middle of an equal stretch."""
    return [(2 * at + 1) * frames // (2 * count) for at in range(count)]


def _stretched(frame: Array, height: int, width: int) -> Array:
    """A frame at another size, as `domain.program.Resize` has it: bilinear, half-pixel centres, rounded for bytes."""
    import numpy as np

    def taps(source: int, target: int) -> tuple[Array, Array, Array]:
        centres = (np.arange(target, dtype=np.float32) + np.float32(0.5)) * np.float32(source / target)
        centres = np.maximum(centres - np.float32(0.5), np.float32(0))
        first = np.minimum(centres.astype(np.intp), source - 1)
        return first, np.minimum(first + 1, source - 1), centres - first.astype(np.float32)

    top, bottom, down = taps(frame.shape[0], height)
    left, right, across = taps(frame.shape[1], width)
    values = frame.astype(np.float32)
    rows = values[top] + (values[bottom] - values[top]) * down[:, None, None]
    result: Array = rows[:, left] + (rows[:, right] - rows[:, left]) * across[None, :, None]
    return np.rint(result).astype(frame.dtype) if frame.dtype == np.uint8 else result.astype(frame.dtype)


def _read_array(file: Path, picks: Callable[[int], list[int]]) -> Array:
    import numpy as np

    try:
        frames = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as exc:
        raise SourceError(f"{file.name} is not an .npy array: {exc}") from exc
    if frames.ndim == 0 or not len(frames) or frames.dtype.kind not in "fiub":
        raise SourceError(f"{file.name} holds no frames of numbers: {frames.dtype} {list(frames.shape)}")
    return np.stack([frames[pick] for pick in picks(len(frames))])


def _decode(file: Path, picks: Callable[[int], list[int]]) -> Array:
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
