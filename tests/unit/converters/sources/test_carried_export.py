from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from edgectl_converters.sources import lerobot
from edgectl_converters.sources.carried_export import restore
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointError
from edgectl_testkit.lerobot_dirs import LAYER, LeRobotDir, graph_of


@pytest.fixture
def carrying(tmp_path, directory):
    return directory.write_with_export(tmp_path / "policy", tmp_path / "aside")


def initializers(model):
    return {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}


def test_a_checkpoint_that_carries_its_export_needs_no_torch(carrying):
    card = lerobot.card(carrying)
    assert card.toolchain == "host"
    assert any("no torch" in note for note in card.notes)


def test_weights_are_not_stored_twice(carrying, directory):
    document = json.loads((carrying / "edgectl_export/export.json").read_bytes())
    assert document["initializers"]["matrix"] == {"tensor": f"{LAYER}.weight", "transposed": True}
    stored = (carrying / "edgectl_export/graph.onnx").read_bytes()
    assert directory.weights[f"{LAYER}.weight"].T.tobytes() not in stored
    assert directory.weights[f"{LAYER}.weight"].tobytes() not in stored


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_graph_is_restored_to_the_bit(tmp_path, directory, dtype):
    directory.weights = {name: value.astype(dtype) for name, value in directory.weights.items()}
    path = directory.write_with_export(tmp_path / "policy", tmp_path / "aside")
    (tmp_path / "out").mkdir()
    restore(path, path / "model.safetensors", tmp_path / "out")
    restored = onnx.load(str(tmp_path / "out/full.onnx"))
    onnx.checker.check_model(restored)
    original = graph_of(directory.weights)
    for name, value in initializers(original).items():
        np.testing.assert_array_equal(initializers(restored)[name], value)
    feeds = {
        "images_top": np.ones((1, 3, 8, 10), np.float32),
        "images_wrist": np.ones((1, 3, 8, 10), np.float32),
        "state": np.ones((1, 3), np.float32),
    }
    expected = ReferenceEvaluator(original).run(None, feeds)[0]
    np.testing.assert_array_equal(ReferenceEvaluator(restored).run(None, feeds)[0], expected)
    assert (tmp_path / "out/golden.npz").read_bytes() == (tmp_path / "aside/golden.npz").read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "model.safetensors",
        "policy_preprocessor.json",
        "policy_postprocessor_step_0_unnormalizer_processor.safetensors",
    ],
)
def test_a_changed_checkpoint_file_puts_the_export_aside_with_a_note(carrying, name):
    path = carrying / name
    data = path.read_bytes()
    if path.suffix == ".json":
        path.write_text(json.dumps(json.loads(data)))
    else:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    card = lerobot.card(carrying)
    assert card.toolchain == "lerobot"
    assert any("not used" in note and name in note for note in card.notes)


@pytest.mark.parametrize("name", ["graph.onnx", "golden.npz"])
@pytest.mark.parametrize("damage", ["remove", "flip"])
def test_a_damaged_part_of_the_export_puts_it_aside(carrying, name, damage):
    path = carrying / "edgectl_export" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    if damage == "flip":
        path.write_bytes(bytes(data))
    card = lerobot.card(carrying)
    assert card.toolchain == "lerobot"
    assert any(name in note for note in card.notes)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"format": 1}', '{"format": 9, "files": {}}'])
def test_a_senseless_export_json_puts_it_aside_and_never_raises(carrying, text):
    (carrying / "edgectl_export/export.json").write_text(text)
    card = lerobot.card(carrying)
    assert card.toolchain == "lerobot"
    assert any("not used" in note for note in card.notes)


def test_an_export_that_refers_to_a_missing_tensor_is_corrupt(carrying, tmp_path):
    path = carrying / "edgectl_export/export.json"
    document = json.loads(path.read_bytes())
    document["initializers"]["matrix"]["tensor"] = "model.absent"
    path.write_text(json.dumps(document))
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointCorruptError, match=r"model\.absent"):
        restore(carrying, carrying / "model.safetensors", tmp_path / "out")


def test_an_export_that_refers_to_a_tensor_of_another_shape_is_corrupt(carrying, tmp_path):
    path = carrying / "edgectl_export/export.json"
    document = json.loads(path.read_bytes())
    document["initializers"]["matrix"]["tensor"] = "model.embedding.weight"
    path.write_text(json.dumps(document))
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointCorruptError, match=r"model\.embedding\.weight"):
        restore(carrying, carrying / "model.safetensors", tmp_path / "out")


def test_writing_an_export_again_replaces_the_old_one(carrying, tmp_path):
    before = (carrying / "edgectl_export/graph.onnx").read_bytes()
    (carrying / "edgectl_export/stray").write_text("old")
    LeRobotDir().write_with_export(carrying, tmp_path / "again")
    assert (carrying / "edgectl_export/graph.onnx").read_bytes() == before
    assert not (carrying / "edgectl_export/stray").exists()
    assert not [path for path in carrying.iterdir() if path.name.startswith(".")]


def test_a_bad_checkpoint_stays_bad_with_an_export(carrying):
    (carrying / "policy_preprocessor.json").unlink()
    with pytest.raises(CheckpointError):
        lerobot.card(carrying)
