from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from edgectl_converters.sources.base import ExportRequest
from edgectl_converters.sources.lerobot.card import card
from edgectl_converters.sources.lerobot.carried_export import restore
from edgectl_converters.sources.lerobot.source import LeRobotSource
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointError
from edgectl_testkit.lerobot_dirs import LAYER, LeRobotDir, graph_of


@pytest.fixture
def carrying(tmp_path, directory):
    return directory.write_with_export(tmp_path / "policy", tmp_path / "aside")


def initializers(model):
    return {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}


def test_a_checkpoint_that_carries_its_export_needs_no_torch(carrying):
    found = card(carrying)
    assert found.toolchain_of(("onnx",)) == "host"
    assert found.toolchain_of(("onnx", "pt2")) == "lerobot-0.4"
    assert any("no torch" in note for note in found.notes)


def test_weights_are_not_stored_twice(carrying, directory):
    document = json.loads((carrying / "edgectl_export/export.json").read_bytes())
    assert document["initializers"]["act"]["matrix"] == {"tensor": f"{LAYER}.weight", "transposed": True}
    stored = (carrying / "edgectl_export/act.onnx").read_bytes()
    assert directory.weights[f"{LAYER}.weight"].T.tobytes() not in stored
    assert directory.weights[f"{LAYER}.weight"].tobytes() not in stored


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_graph_is_restored_to_the_bit(tmp_path, directory, dtype):
    directory.weights = {name: value.astype(dtype) for name, value in directory.weights.items()}
    path = directory.write_with_export(tmp_path / "policy", tmp_path / "aside")
    (tmp_path / "out").mkdir()
    restore(path, path / "model.safetensors", tmp_path / "out")
    restored = onnx.load(str(tmp_path / "out/act.onnx"))
    onnx.checker.check_model(restored)
    original = graph_of(directory.weights)
    for name, value in initializers(original).items():
        np.testing.assert_array_equal(initializers(restored)[name], value)
    feeds = {
        "top": np.ones((1, 3, 8, 10), np.float32),
        "wrist": np.ones((1, 3, 8, 10), np.float32),
        "state": np.ones((1, 3), np.float32),
    }
    expected = ReferenceEvaluator(original).run(None, feeds)[0]
    np.testing.assert_array_equal(ReferenceEvaluator(restored).run(None, feeds)[0], expected)
    for name in ("golden.npz", "arrays.npz"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "aside" / name).read_bytes()


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
    found = card(carrying)
    assert found.toolchain_of(("onnx",)) == "lerobot-0.4"
    assert any("not used" in note and name in note for note in found.notes)


@pytest.mark.parametrize("name", ["act.onnx", "golden.npz", "arrays.npz"])
@pytest.mark.parametrize("damage", ["remove", "flip"])
def test_a_damaged_part_of_the_export_puts_it_aside(carrying, name, damage):
    path = carrying / "edgectl_export" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    if damage == "flip":
        path.write_bytes(bytes(data))
    found = card(carrying)
    assert found.toolchain_of(("onnx",)) == "lerobot-0.4"
    assert any(name in note for note in found.notes)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"format": 1}', '{"format": 9, "files": {}}'])
def test_a_senseless_export_json_puts_it_aside_and_never_raises(carrying, text):
    (carrying / "edgectl_export/export.json").write_text(text)
    found = card(carrying)
    assert found.toolchain_of(("onnx",)) == "lerobot-0.4"
    assert any("not used" in note for note in found.notes)


def test_an_export_that_refers_to_a_missing_tensor_is_corrupt(carrying, tmp_path):
    path = carrying / "edgectl_export/export.json"
    document = json.loads(path.read_bytes())
    document["initializers"]["act"]["matrix"]["tensor"] = "model.absent"
    path.write_text(json.dumps(document))
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointCorruptError, match=r"model\.absent"):
        restore(carrying, carrying / "model.safetensors", tmp_path / "out")


def test_an_export_that_refers_to_a_tensor_of_another_shape_is_corrupt(carrying, tmp_path):
    path = carrying / "edgectl_export/export.json"
    document = json.loads(path.read_bytes())
    document["initializers"]["act"]["matrix"]["tensor"] = "model.embedding.weight"
    path.write_text(json.dumps(document))
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointCorruptError, match=r"model\.embedding\.weight"):
        restore(carrying, carrying / "model.safetensors", tmp_path / "out")


def test_writing_an_export_again_replaces_the_old_one(carrying, tmp_path):
    before = (carrying / "edgectl_export/act.onnx").read_bytes()
    (carrying / "edgectl_export/stray").write_text("old")
    LeRobotDir().write_with_export(carrying, tmp_path / "again")
    assert (carrying / "edgectl_export/act.onnx").read_bytes() == before
    assert not (carrying / "edgectl_export/stray").exists()
    assert not [path for path in carrying.iterdir() if path.name.startswith(".")]


def test_a_bad_checkpoint_stays_bad_with_an_export(carrying):
    (carrying / "policy_preprocessor.json").unlink()
    with pytest.raises(CheckpointError):
        card(carrying)


def test_the_source_restores_what_the_checkpoint_carries(carrying, directory, tmp_path):
    (tmp_path / "out").mkdir()
    said = []
    request = ExportRequest("lerobot", str(carrying), str(tmp_path / "out"), "", "", 0)
    export = LeRobotSource().export(request, said.append)
    assert export == directory.export(carrying, tmp_path / "again")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["act.onnx", "arrays.npz", "golden.npz"]
    assert said == ["restoring the carried export"]


def edit(carrying, change):
    path = carrying / "edgectl_export/export.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))
    return card(carrying)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda d: d["export"]["components"][0]["files"].update(onnx="../act.onnx"), "act.onnx"),
        (lambda d: d["stored"].update({"/etc/passwd": "x"}), "unsafe"),
        (lambda d: d["stored"].pop("golden.npz"), "golden.npz"),
        (lambda d: d["export"]["program"].update(action="nothing"), "nothing"),
        (lambda d: d["export"]["policy"].update(n_action_steps=99), "99"),
        (lambda d: d["export"]["policy"].update(n_action_steps=1), "another policy"),
        (lambda d: d["export"]["components"].clear(), "act"),
        (lambda d: d.update(extra=1), "extra"),
    ],
)
def test_an_export_that_does_not_hold_together_is_put_aside_and_says_why(carrying, change, seen):
    found = edit(carrying, change)
    assert found.toolchain_of(("onnx",)) == "lerobot-0.4"
    assert any("not used" in note and seen in note for note in found.notes), found.notes


def test_the_digest_covers_a_carried_export_that_is_used(carrying, tmp_path):
    plain = card(LeRobotDir().write(tmp_path / "plain")).digest
    assert card(carrying).digest != plain
    (carrying / "edgectl_export/golden.npz").unlink()
    assert card(carrying).digest == plain


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_as_export_json_put_it_aside(tmp_path_factory, data):
    path = LeRobotDir().write(tmp_path_factory.mktemp("any") / "p")
    (path / "edgectl_export").mkdir()
    (path / "edgectl_export/export.json").write_bytes(data)
    assert card(path).toolchain_of(("onnx",)) == "lerobot-0.4"
