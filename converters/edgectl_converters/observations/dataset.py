"""A LeRobot dataset (v2.0, v2.1, v3) as footage: some whole episodes of one task, unpacked into a folder of recordings.

Facts: `meta/info.json` lists the features and where files lie. v2 has a parquet and an mp4 for each episode, and
`meta/episodes.jsonl`; v3 puts many episodes into one file, and `meta/episodes/**.parquet` says in which and from when.
Frames are stored as videos, or as PNG or JPEG inside the parquet.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgectl_converters.sources.lerobot.foreign import read_json, refuse_pointer
from edgectl_protos.domain.artifact import safe_path
from edgectl_protos.domain.errors import BundlePathError, CheckpointError, SourceError, ToolchainError
from edgectl_protos.domain.policy import Dimension, Feature, FeatureKind, Policy

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

__all__ = [
    "Dataset",
    "Episode",
    "action_dimensions",
    "action_names",
    "is_dataset",
    "read_dataset",
    "unpack",
    "used_files",
]

_INFO = "meta/info.json"
_VERSION = re.compile(r"v?([23])(?:\.\d+)*")
_FIELD = re.compile(r"\{(\w+)(?::0(\d)d)?\}")
_MAX_EPISODES = 8
_MAX_FRAMES = 900
"""Half a minute at 30 Hz: more than a run measures, and enough to draw from."""
_MAX_IMAGE_BYTES = 256 << 20
"""Of frames that come as images, and are kept as arrays."""
_MAX_LINE_BYTES = 64 << 20
_AGAIN = "copy the dataset again, or fetch it: hf download OWNER/NAME --repo-type dataset --local-dir DIR"


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode: `data` is its parquet, `videos` are, by feature, a file and where in it the episode begins."""

    index: int
    length: int
    task: str
    data: Path
    videos: dict[str, tuple[Path, float]]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset as its meta data describe it. `features` are the entries of info.json by name."""

    root: Path
    features: dict[str, dict[str, Any]]
    fps: float
    episodes: tuple[Episode, ...]


def is_dataset(path: Path) -> bool:
    """Whether this is the root of a LeRobot dataset."""
    return (path / _INFO).is_file()


def action_names(root: Path) -> tuple[str, ...]:
    """What the dataset calls the dimensions of its action; empty where it does not name each.

    Raises:
        SourceError: info.json cannot be read.
    """
    feature = _features(_info(root)).get("action", {})
    names = tuple(_flat(feature.get("names")))
    return names if len(names) == _size(feature) else ()


def action_dimensions(policy: Policy, footage: Path | None) -> tuple[Dimension, ...]:
    """The dimensions of the policy's action as a dataset names them; empty where the footage is none, or of another.

    Raises:
        SourceError: the dataset's info.json cannot be read.
    """
    names = action_names(footage) if footage is not None and is_dataset(footage) else ()
    return tuple(map(Dimension, names)) if len(names) == math.prod(policy.action.shape) else ()


def read_dataset(root: Path) -> Dataset:
    """The dataset's description of itself.

    Raises:
        SourceError: it is damaged, of another version, or without episodes.
        ToolchainError: pyarrow is missing.
    """
    info = _info(root)
    version = _VERSION.fullmatch(str(info.get("codebase_version", "")))
    if version is None:
        raise SourceError(
            f"{root} is a LeRobot dataset of version {str(info.get('codebase_version'))[:40]!r}; v2 and v3 are read",
            hint="convert it with LeRobot: python -m lerobot.datasets.v30.convert_dataset_v21_to_v30 --help",
        )
    features = _features(info)
    videos = [name for name, entry in features.items() if entry.get("dtype") == "video"]
    read = _episodes_v2 if version[1] == "2" else _episodes_v3
    try:
        episodes = tuple(read(root, info, videos))
        fps = float(info["fps"])
    except (KeyError, TypeError, ValueError, OverflowError, BundlePathError) as exc:
        raise SourceError(f"the meta data of {root} are damaged: {type(exc).__name__} {exc}", hint=_AGAIN) from exc
    if not episodes or not 0 < fps <= 10_000:
        raise SourceError(f"{root} holds {len(episodes)} episodes at {fps} Hz: nothing to draw from", hint=_AGAIN)
    return Dataset(root, features, fps, episodes)


def used_files(dataset: Dataset, policy: Policy) -> list[Path]:
    """What `unpack` reads."""
    pieces = _chosen(dataset, [feature.name for feature in _matching(dataset, policy)], _MAX_FRAMES)
    names = {feature.name for feature in policy.observations}
    meta = dataset.root / "meta"
    found = {dataset.root / _INFO, *(meta / "episodes").rglob("*.parquet"), *meta.glob("episodes.jsonl")}
    for episode, _ in pieces:
        found |= {episode.data, *(file for name, (file, _) in episode.videos.items() if name in names)}
    return sorted(found)


def unpack(dataset: Dataset, policy: Policy, out: Path) -> None:
    """Write what the dataset has of the policy's observations into the folder `out`, as footage.

    Raises:
        SourceError: it has none of them, or a file is missing or damaged.
        ToolchainError: pyarrow is missing.
    """
    import numpy as np

    matching = _matching(dataset, policy)
    images = [feature for feature in matching if dataset.features[feature.name].get("dtype") == "image"]
    limit = _MAX_FRAMES
    for feature in images:
        limit = max(1, min(limit, _MAX_IMAGE_BYTES // _size(dataset.features[feature.name])))
    pieces = _chosen(dataset, [feature.name for feature in matching], limit)
    columns = [one.name for one in matching if dataset.features[one.name].get("dtype") != "video"]
    rows = [_rows(episode, columns, count) for episode, count in pieces] if columns else []
    for feature in matching:
        if feature.name not in columns:
            places = [(*episode.videos[feature.name], count) for episode, count in pieces]
            _write_video(places, dataset.fps, out / f"{feature.name}.mp4")
            continue
        values: list[Any] = [value for part in rows for value in part[feature.name]]
        try:
            array = np.stack([_image(value) for value in values]) if feature in images else np.array(values)
            if feature not in images:
                array = array.reshape(len(values), *feature.shape)
        except ValueError as exc:
            shape = dataset.features[feature.name].get("shape")
            raise SourceError(f"{feature.name} of the dataset is {shape}, the policy's {list(feature.shape)}") from exc
        np.save(out / f"{feature.name}.npy", array)
    if task := pieces[0][0].task:
        (out / "task.txt").write_text(task)


def _matching(dataset: Dataset, policy: Policy) -> list[Feature]:
    found = [
        one for one in policy.observations if one.kind is not FeatureKind.LANGUAGE and one.name in dataset.features
    ]
    if not found:
        wanted = ", ".join(one.name for one in policy.observations)
        raise SourceError(
            f"nothing in the dataset {dataset.root} is of this policy: it has {', '.join(dataset.features)[:400]}; "
            f"wanted {wanted[:400]}",
            hint="a policy of other names is fed from a folder of recordings: --footage DIR, one file a feature",
        )
    return found


def _chosen(dataset: Dataset, names: Sequence[str], limit: int) -> list[tuple[Episode, int]]:
    """Episodes of the first one's task, evenly over the dataset, and how many frames are taken of each."""
    task = dataset.episodes[0].task
    videos = [name for name in names if dataset.features[name].get("dtype") == "video"]
    fitting = [one for one in dataset.episodes if one.task == task and all(name in one.videos for name in videos)]
    if not fitting:
        raise SourceError(f"no episode of {dataset.root} has videos of {', '.join(videos)}", hint=_AGAIN)
    last, count = len(fitting) - 1, min(_MAX_EPISODES, len(fitting))
    found = []
    for at in range(count):
        episode = fitting[at * last // max(count - 1, 1)]
        taken = min(episode.length, limit)
        limit -= taken
        if taken > 0:
            found.append((episode, taken))
    return found


def _info(root: Path) -> dict[str, Any]:
    try:
        info = read_json(root / _INFO)
    except (CheckpointError, OSError) as exc:
        raise SourceError(f"{root / _INFO} cannot be read: {exc}", hint=_AGAIN) from exc
    if not isinstance(info, dict):
        raise SourceError(f"{root / _INFO} is no description of a dataset", hint=_AGAIN)
    return info


def _features(info: dict[str, Any]) -> dict[str, dict[str, Any]]:
    features = info.get("features")
    if not isinstance(features, dict) or not all(isinstance(entry, dict) for entry in features.values()):
        raise SourceError(f"{_INFO} of the dataset lists no features", hint=_AGAIN)
    return features


def _size(feature: dict[str, Any]) -> int:
    shape = feature.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and 0 < size < 1 << 20 for size in shape):
        raise SourceError(f"a feature of the dataset has the shape {str(shape)[:80]}", hint=_AGAIN)
    return math.prod(shape)


def _flat(names: Any) -> Iterator[str]:
    """Names in a list, in lists by part (`{"motors": [...]}`), or by index (`{"x": 0, "y": 1}`)."""
    if isinstance(names, str):
        yield names
    elif isinstance(names, list):
        for name in names:
            yield from _flat(name)
    elif isinstance(names, dict) and names and all(type(index) is int for index in names.values()):
        yield from sorted(names, key=lambda name: names[name])
    elif isinstance(names, dict):
        for part in names.values():
            yield from _flat(part)


def _path(root: Path, template: str, values: dict[str, Any]) -> Path:
    def fill(field: re.Match[str]) -> str:
        value = values[field[1]]
        return str(value) if field[2] is None else str(int(value)).zfill(int(field[2]))

    return root / safe_path(_FIELD.sub(fill, template))


def _episodes_v2(root: Path, info: dict[str, Any], videos: Sequence[str]) -> Iterator[Episode]:
    file = root / "meta/episodes.jsonl"
    try:
        refuse_pointer(file)
        with open(file, "rb") as stream:
            lines = stream.read(_MAX_LINE_BYTES).splitlines()
    except (OSError, CheckpointError) as exc:
        raise SourceError(f"{file} cannot be read: {exc}", hint=_AGAIN) from exc
    for line in filter(None, lines):
        try:
            entry = json.loads(line)
        except RecursionError as exc:
            raise ValueError("an episode nested too deep") from exc
        index = int(entry["episode_index"])
        places = {"episode_index": index, "episode_chunk": index // int(info["chunks_size"])}
        yield Episode(
            index,
            int(entry["length"]),
            _task(entry),
            _path(root, str(info["data_path"]), places),
            {name: (_path(root, str(info["video_path"]), places | {"video_key": name}), 0.0) for name in videos},
        )


def _episodes_v3(root: Path, info: dict[str, Any], videos: Sequence[str]) -> Iterator[Episode]:
    files = sorted((root / "meta/episodes").rglob("*.parquet"))
    for file in files:
        for entry in _table(file, without="stats/").to_pylist():
            places = {"chunk_index": entry["data/chunk_index"], "file_index": entry["data/file_index"]}
            found = {}
            for name in videos:
                at = f"videos/{name}/"
                if entry.get(f"{at}file_index") is None:
                    continue
                where = {"video_key": name, **{key: entry[at + key] for key in ("chunk_index", "file_index")}}
                path = _path(root, str(info["video_path"]), where)
                found[name] = (path, float(entry[f"{at}from_timestamp"]))
            data = _path(root, str(info["data_path"]), places)
            yield Episode(int(entry["episode_index"]), int(entry["length"]), _task(entry), data, found)


def _task(entry: dict[str, Any]) -> str:
    tasks = entry.get("tasks") or [""]
    return str(tasks[0] if isinstance(tasks, list) else tasks).strip()


def _table(file: Path, *, columns: Sequence[str] = (), without: str = "", episode: int | None = None) -> Any:
    """A parquet: these columns, or all but those that begin with `without`; the rows of one episode, or all."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as exc:
        raise ToolchainError(
            "reading a LeRobot dataset needs pyarrow, which is not installed",
            hint="python -m pip install 'edgectl-converters[dataset]'",
        ) from exc
    try:
        refuse_pointer(file)
        wanted = list(columns) or [name for name in parquet.read_schema(file).names if not name.startswith(without)]
        rows = None if episode is None else [("episode_index", "=", episode)]
        return parquet.read_table(file, columns=wanted, filters=rows, partitioning=None)
    except (arrow.ArrowException, CheckpointError, OSError, ValueError) as exc:
        raise SourceError(f"{file} cannot be read: {' '.join(str(exc).split())[:200]}", hint=_AGAIN) from exc


def _rows(episode: Episode, columns: Sequence[str], count: int) -> dict[str, list[Any]]:
    """The first `count` values of these columns."""
    table = _table(episode.data, columns=[*columns, "frame_index", "episode_index"], episode=episode.index)
    missing = [name for name in columns if name not in table.column_names]
    if missing or len(table) < count:
        lacks = missing[0] if missing else f"frames: {len(table)} of {episode.length}"
        raise SourceError(f"{episode.data} lacks {lacks} (episode {episode.index})", hint=_AGAIN)
    table = table.sort_by("frame_index").slice(0, count)
    return {name: table[name].to_pylist() for name in columns}


def _image(value: Any) -> Array:
    """[height, width, channels] of a PNG or JPEG inside a parquet."""
    import av

    data = value.get("bytes") if isinstance(value, dict) else None
    if not isinstance(data, bytes):
        raise SourceError("an image of the dataset is not inside its parquet", hint=_AGAIN)
    try:
        with av.open(io.BytesIO(data)) as container:
            frame = next(container.decode(video=0))
            pixels: Array = frame.to_ndarray(format="rgb24")
    except (av.error.FFmpegError, OSError, IndexError, StopIteration) as exc:
        raise SourceError(f"an image of the dataset does not decode: {exc}", hint=_AGAIN) from exc
    return pixels


def _write_video(places: Sequence[tuple[Path, float, int]], fps: float, out: Path) -> None:
    """The frames at these places, (file, seconds, frames), as one video."""
    import av

    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(out), "w") as container:
        stream: Any = None
        number = 0
        for file, start_s, count in places:
            for frame in _frames(file, start_s, count, fps):
                if stream is None:
                    stream = container.add_stream("libx264", rate=rate)
                    stream.width, stream.height = frame.width, frame.height
                    # Halved colours need even sizes.
                    even = frame.width % 2 == frame.height % 2 == 0
                    stream.pix_fmt = "yuv420p" if even else "yuv444p"
                    stream.options = {"crf": "12", "preset": "veryfast"}
                elif (frame.width, frame.height) != (stream.width, stream.height):
                    raise SourceError(f"{file} has frames of another size than the episodes before", hint=_AGAIN)
                plain = frame.reformat(format=stream.pix_fmt)
                plain.pts, plain.time_base, plain.pict_type = number, 1 / rate, 0
                container.mux(stream.encode(plain))
                number += 1
        container.mux(stream.encode())


def _frames(file: Path, start_s: float, count: int, fps: float) -> Iterator[Any]:
    """`count` frames from this time on."""
    import av

    try:
        refuse_pointer(file)
        with av.open(str(file)) as container:
            video = container.streams.video[0]
            # Half a frame early, for times that were rounded.
            first_s = start_s - 0.5 / fps
            if start_s > 0:
                container.seek(int(start_s / video.time_base), stream=video)
            left = count
            for frame in container.decode(video):
                if left and (frame.time is None or frame.time >= first_s):
                    left -= 1
                    yield frame
                if not left:
                    return
    except (av.error.FFmpegError, CheckpointError, OSError, IndexError) as exc:
        raise SourceError(f"{file} does not decode: {exc}", hint=_AGAIN) from exc
    raise SourceError(f"{file} lacks {left} of the {count} frames from {start_s:.3f} s on", hint=_AGAIN)
