"""LeRobot datasets as LeRobot writes them (v2.1 and v3), made without LeRobot: grey videos, states that count."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgectl_testkit.video import write_image, write_video

__all__ = ["CAMERA", "NAMES", "WRIST", "write_dataset"]

CAMERA, WRIST = "observation.images.top", "observation.images.wrist"
NAMES = ("shoulder.pos", "elbow.pos", "gripper.pos")
SIZE = (48, 64)


def write_dataset(
    root: Path,
    version: str,
    lengths: Sequence[int] = (20, 30, 10),
    *,
    tasks: Sequence[str] = ("pick",),
    names: Any = NAMES,
) -> Path:
    """Episodes of these lengths. Frame i of episode e is grey 20 + 60 * e + i, in the video of `top` and in the images
    of `wrist`; its state is [e, i, e * 100 + i], its action the negative of that.
    """
    features: dict[str, Any] = {
        CAMERA: {"dtype": "video", "shape": [*SIZE, 3], "names": ["height", "width", "channels"]},
        WRIST: {"dtype": "image", "shape": [*SIZE, 3], "names": ["height", "width", "channels"]},
        "observation.state": {"dtype": "float32", "shape": [3], "names": list(NAMES)},
        "action": {
            "dtype": "float32",
            "shape": [len(names) if isinstance(names, tuple) else 3],
            "names": list(names) if isinstance(names, tuple) else names,
        },
    }
    old = version.startswith("v2")
    file = "episode_{episode_index:06d}" if old else "file-{file_index:03d}"
    chunk = "chunk-{episode_chunk:03d}" if old else "chunk-{chunk_index:03d}"
    info = {
        "codebase_version": version,
        "fps": 30,
        "chunks_size": 1000,
        "features": features,
        "data_path": f"data/{chunk}/{file}.parquet",
        "video_path": f"videos/{chunk}/{{video_key}}/{file}.mp4" if old else f"videos/{{video_key}}/{chunk}/{file}.mp4",
    }
    (root / "meta").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    episodes = [
        {"episode_index": index, "tasks": [tasks[index % len(tasks)]], "length": length}
        for index, length in enumerate(lengths)
    ]
    if old:
        (root / "meta/episodes.jsonl").write_text("\n".join(map(json.dumps, episodes)))
        for index, length in enumerate(lengths):
            _write_rows(root / f"data/chunk-000/episode_{index:06d}.parquet", [(index, length)], root)
            _write_greys(root / f"videos/chunk-000/{CAMERA}/episode_{index:06d}.mp4", [(index, length)])
        return root
    pieces = list(enumerate(lengths))
    _write_rows(root / "data/chunk-000/file-000.parquet", pieces, root)
    _write_greys(root / f"videos/{CAMERA}/chunk-000/file-000.mp4", pieces)
    start = 0
    for entry, length in zip(episodes, lengths, strict=True):
        entry |= {"data/chunk_index": 0, "data/file_index": 0, "stats/action/min": [0.0]}
        at = f"videos/{CAMERA}"
        entry |= {f"{at}/chunk_index": 0, f"{at}/file_index": 0, f"{at}/from_timestamp": start / 30}
        start += length
    _write_table(root / "meta/episodes/chunk-000/file-000.parquet", episodes)
    return root


def _write_greys(file: Path, pieces: list[tuple[int, int]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_video(file, [_grey(episode, at) for episode, length in pieces for at in range(length)], size=SIZE)


def _write_rows(file: Path, pieces: list[tuple[int, int]], root: Path) -> None:
    rows = []
    for episode, length in pieces:
        for at in range(length):
            state = [float(episode), float(at), episode * 100.0 + at]
            rows.append(
                {
                    "observation.state": state,
                    "action": [-value for value in state],
                    WRIST: {"bytes": _png(root, _grey(episode, at)), "path": None},
                    "frame_index": at,
                    "episode_index": episode,
                }
            )
    _write_table(file, rows)


def _write_table(file: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), file)


def _png(root: Path, grey: int) -> bytes:
    file = root / "pixel.png"
    pixels: npt.NDArray[np.uint8] = np.full((*SIZE, 3), grey, np.uint8)
    data = write_image(file, pixels).read_bytes()
    file.unlink()
    return data


def _grey(episode: int, at: int) -> int:
    return (20 + 60 * episode + at) % 256
