from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from edgectl_converters.observations import find_footage, match_footage, observe
from edgectl_converters.observations.dataset import action_names, is_dataset, read_dataset, unpack
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import SourceError, ToolchainError
from edgectl_protos.domain.loop import SourceKind
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy
from edgectl_testkit.lerobot_datasets import CAMERA, NAMES, WRIST, write_dataset

TOP = Feature(CAMERA, FeatureKind.VISUAL, DType.UINT8, (48, 64, 3))
SIDE = Feature(WRIST, FeatureKind.VISUAL, DType.UINT8, (48, 64, 3))
STATE = Feature("observation.state", FeatureKind.STATE, DType.FLOAT32, (3,))
TASK = Feature("task", FeatureKind.LANGUAGE, DType.TEXT, ())
VERSIONS = ["v2.1", "v3.0"]


def policy(*features):
    return Policy("p", features, Feature("action", FeatureKind.ACTION, DType.FLOAT32, (3,)), 4, 2)


def unpacked(root, out, *features):
    out.mkdir()
    unpack(read_dataset(root), policy(*features), out)
    return out


@pytest.mark.parametrize("version", VERSIONS)
def test_frames_states_and_the_task_of_a_dataset_are_footage(tmp_path, version):
    root = write_dataset(tmp_path / "set", version)
    assert is_dataset(root)
    out = unpacked(root, tmp_path / "out", TOP, SIDE, STATE, TASK)
    assert match_footage(policy(TOP, SIDE, STATE, TASK), out).keys() == {CAMERA, WRIST, STATE.name}
    assert find_footage(out, CAMERA)[1] is SourceKind.VIDEO
    drawn = observe(policy(TOP, SIDE, STATE, TASK), out, {}, count=60, seed=0)
    assert drawn.frames == {CAMERA: 60, WRIST: 60, STATE.name: 60}
    states = drawn.arrays[STATE.name]
    np.testing.assert_array_equal(states[:, 0], [0] * 20 + [1] * 30 + [2] * 10)
    np.testing.assert_array_equal(states[:, 1], [*range(20), *range(30), *range(10)])
    # What a camera saw and where the joints stood belong together, at the seams of episodes too.
    greys = 20 + 60 * states[:, 0] + states[:, 1]
    np.testing.assert_allclose(drawn.arrays[CAMERA].mean(axis=(1, 2, 3)), greys, atol=4)
    np.testing.assert_array_equal(drawn.arrays[WRIST][:, 5, 5, 0], greys)
    assert drawn.arrays["task"].tolist() == ["pick"] * 60


@pytest.mark.parametrize("version", VERSIONS)
def test_only_episodes_of_the_first_task_are_taken(tmp_path, version):
    root = write_dataset(tmp_path / "set", version, tasks=("pick", "place"))
    states = np.load(unpacked(root, tmp_path / "out", STATE) / f"{STATE.name}.npy")
    assert sorted(set(states[:, 0])) == [0, 2]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_long_dataset_is_cut_to_what_is_used(tmp_path, version):
    root = write_dataset(tmp_path / "set", version, [4] * 40)
    states = np.load(unpacked(root, tmp_path / "out", STATE) / f"{STATE.name}.npy")
    assert len(states) == 32
    assert (states[0, 0], states[-1, 0]) == (0, 39)


def test_images_are_kept_within_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr("edgectl_converters.observations.dataset._MAX_IMAGE_BYTES", 25 * 48 * 64 * 3)
    out = unpacked(write_dataset(tmp_path / "set", "v3.0"), tmp_path / "out", SIDE, STATE)
    assert len(np.load(out / f"{WRIST}.npy")) == len(np.load(out / f"{STATE.name}.npy")) == 25


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (NAMES, NAMES),
        ({"motors": list(NAMES)}, NAMES),
        ({"arm": ["shoulder.pos", "elbow.pos"], "hand": [["gripper.pos"]]}, NAMES),
        ({"gripper.pos": 2, "shoulder.pos": 0, "elbow.pos": 1}, NAMES),
        (["shoulder.pos"], ()),
        (None, ()),
        ([1, 2, 3], ()),
    ],
)
def test_dimensions_of_the_action_have_the_datasets_names(tmp_path, names, expected):
    assert action_names(write_dataset(tmp_path / "set", "v3.0", [2], names=names)) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_a_dataset_with_nothing_of_the_policy_says_what_it_has(tmp_path, version):
    other = Feature("observation.images.front", FeatureKind.VISUAL, DType.UINT8, (48, 64, 3))
    with pytest.raises(SourceError, match=r"it has observation\.images\.top.*wanted observation\.images\.front, task"):
        unpacked(write_dataset(tmp_path / "set", version, [2]), tmp_path / "out", other, TASK)


def test_a_version_that_is_not_read_is_named(tmp_path):
    root = write_dataset(tmp_path / "set", "v1.6", [2])
    with pytest.raises(SourceError, match=r"'v1\.6'; v2 and v3 are read"):
        read_dataset(root)


def edited(root, **changes):
    file = root / "meta/info.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | changes))
    return root


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "changes",
    [
        {"data_path": "../{episode_index}{file_index}.parquet"},
        {"data_path": "{unknown}"},
        {"fps": None},
        {"fps": 0},
        {"features": []},
        {"features": {WRIST: {"dtype": "image", "shape": "three"}}},
    ],
)
def test_damaged_meta_data_are_refused(tmp_path, version, changes):
    root = edited(write_dataset(tmp_path / "set", version, [2]), **changes)
    with pytest.raises(SourceError):
        unpacked(root, tmp_path / "out", SIDE, STATE)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("data", [b"", b"not what it says", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_damaged_file_of_a_dataset_is_named(tmp_path, version, data):
    root = write_dataset(tmp_path / "set", version, [2])
    for number, file in enumerate(sorted(file for file in root.rglob("*") if file.is_file())):
        before = file.read_bytes()
        file.write_bytes(data)
        with pytest.raises(SourceError):
            unpacked(root, tmp_path / f"out{number}", TOP, STATE)
        file.write_bytes(before)
    unpacked(root, tmp_path / "whole", TOP, STATE)


def test_a_video_that_is_shorter_than_its_episode_is_refused(tmp_path):
    root = write_dataset(tmp_path / "set", "v2.1", [5])
    line = json.loads((root / "meta/episodes.jsonl").read_text())
    (root / "meta/episodes.jsonl").write_text(json.dumps(line | {"length": 9}))
    with pytest.raises(SourceError, match="lacks 4 of the 9 frames"):
        unpacked(root, tmp_path / "out", TOP)
    with pytest.raises(SourceError, match="lacks frames: 5 of 9"):
        unpacked(root, tmp_path / "more", STATE)


def test_pyarrow_is_asked_for_where_it_is_missing(tmp_path, monkeypatch):
    root = write_dataset(tmp_path / "set", "v3.0", [2])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ToolchainError, match="pyarrow") as caught:
        read_dataset(root)
    assert "edgectl-converters[dataset]" in caught.value.hint
