from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgectl_converters.sources.lerobot.card import card
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointError, CheckpointFormatError, EdgectlError
from edgectl_protos.domain.policy import FeatureKind
from edgectl_testkit.lerobot_dirs import CAMERAS, STATE, LeRobotDir


def test_the_card_says_what_the_robot_hands_over(written):
    found = card(written)
    policy = found.policy
    assert [feature.name for feature in policy.observations] == [*CAMERAS, STATE]
    top, _, state = policy.observations
    assert (top.kind, top.dtype, top.shape) == (FeatureKind.VISUAL, DType.UINT8, (8, 10, 3))
    assert (state.dtype, state.shape) == (DType.FLOAT32, (3,))
    assert (policy.action.shape, policy.chunk_size, policy.n_action_steps) == ((2,), 4, 2)
    assert found.parameters == 8 * 9 + 8 + 64 * 64
    assert found.toolchain == "lerobot-0.4"
    assert found.name == "policy" or found.name


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"use_peft": True}, "use_peft"),
        ({"n_obs_steps": 2}, "n_obs_steps 2"),
        ({"type": "tdmpc"}, "tdmpc"),
        ({"rtc_config": {"enabled": True}}, "rtc_config"),
        ({"use_relative_actions": True}, "use_relative_actions"),
    ],
)
def test_what_cannot_be_carried_over_is_refused_by_name(directory, tmp_path, change, seen):
    directory.config |= change
    with pytest.raises(CheckpointFormatError, match=seen):
        card(directory.write(tmp_path / "p"))


@pytest.mark.parametrize(
    "change",
    [
        {"n_action_steps": 5},
        {"n_action_steps": 0},
        {"chunk_size": None},
        {"chunk_size": "4"},
        {"input_features": {}},
        {"input_features": [1]},
        {"input_features": {"observation.state": "three"}},
        {"output_features": {"pose": {"type": "ACTION", "shape": [2]}}},
        {"output_features": {"action": {"type": "ACTION", "shape": [2, -1]}}},
        {"output_features": {"action": {"type": "ACTION", "shape": "2"}}},
        {"input_features": {CAMERAS[0]: {"type": "VISUAL", "shape": [1, 8, 10]}}},
        {"input_features": {STATE: {"type": "LANGUAGE", "shape": [3]}}},
        {"input_features": {STATE: {"shape": [3]}}},
    ],
)
def test_a_config_with_a_senseless_value_is_refused_without_a_traceback(directory, tmp_path, change):
    directory.config |= change
    with pytest.raises(CheckpointError) as caught:
        card(directory.write(tmp_path / "p"))
    assert next(iter(change)).split("_")[0] in str(caught.value) or "feature" in str(caught.value)


def test_a_directory_without_weights_says_which_file_is_missing(written):
    (written / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        card(written)


def test_an_adapter_without_weights_is_called_an_adapter(written):
    (written / "model.safetensors").rename(written / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="adapter"):
        card(written)


@pytest.mark.parametrize("name", ["policy_preprocessor.json", "policy_postprocessor.json"])
def test_a_directory_without_processors_is_refused(written, name):
    (written / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        card(written)


@pytest.mark.parametrize(
    ("shape", "taken"), [([3, 8, 10], (8, 10, 3)), ([8, 10, 3], (8, 10, 3)), ([1, 8, 10], (8, 10, 1))]
)
def test_frames_are_read_with_channels_first_or_last_and_one_or_three(directory, tmp_path, shape, taken):
    directory.config["input_features"]["observation.images.top"]["shape"] = shape
    for statistics in (directory.pre_statistics, directory.post_statistics):
        for name in [name for name in statistics if name.startswith("observation.images.top.")]:
            statistics[name] = statistics[name][: taken[-1]]
    assert card(directory.write(tmp_path / "p")).policy.observations[0].shape == taken


def test_a_camera_that_the_backbone_cannot_take_is_refused(directory, tmp_path):
    directory.config["input_features"]["observation.images.top"]["shape"] = [1, 8, 10]
    directory.pre_statistics = {
        name: values[:1] if "top" in name else values for name, values in directory.pre_statistics.items()
    }
    directory.weights["model.backbone.conv1.weight"] = np.zeros((4, 3, 7, 7), np.float32)
    with pytest.raises(CheckpointError, match=r"images\.top have 1 channels.*takes 3: LeRobot cannot"):
        card(directory.write(tmp_path / "p"))


@pytest.mark.parametrize("name", ["model.safetensors", "policy_preprocessor_step_3_normalizer_processor.safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_safetensors_is_corrupt(written, name, kept):
    path = written / name
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(CheckpointCorruptError, match=name):
        card(written)


def test_trailing_bytes_are_corrupt(written):
    path = written / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"\0\0\0\0")
    with pytest.raises(CheckpointCorruptError):
        card(written)


def test_a_header_with_overlapping_offsets_is_corrupt(written):
    path = written / "model.safetensors"
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    names = [name for name in header if name != "__metadata__"]
    header[names[0]]["data_offsets"] = header[names[1]]["data_offsets"]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
    with pytest.raises(CheckpointCorruptError):
        card(written)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_bit_in_the_header_never_gives_a_traceback(tmp_path_factory, data):
    path = LeRobotDir().write(tmp_path_factory.mktemp("flip") / "p") / "model.safetensors"
    content = bytearray(path.read_bytes())
    (size,) = struct.unpack("<Q", content[:8])
    position = data.draw(st.integers(0, 8 + size - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(content))
    try:
        found = card(path.parent)
    except EdgectlError:
        return
    # A flip inside a tensor's name leaves a sound file; the shapes must then add up to the bytes.
    assert found.parameters * 4 == len(content) - 8 - size


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_as_config_give_one_of_our_errors(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("config")
    (path / "config.json").write_bytes(data)
    with pytest.raises(CheckpointError):
        card(path)
