"""Policies in parts: what the documentation shows, and what a file can say, run as a device runs it."""

from __future__ import annotations

import json
import re
from typing import get_args

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgectl_converters.card import Declared, sha256_of
from edgectl_converters.sources.parts.source import PartsSource
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import (
    CheckpointError,
    ProgramError,
    ShapeError,
    UsageError,
)
from edgectl_protos.domain.policy import FeatureKind
from edgectl_protos.domain.program import Generate, Step, Tokenise, flat_steps
from edgectl_testkit.part_policies import (
    PLAIN,
    SCALED,
    card,
    diffusion,
    export,
    graph,
    node,
    run_cases,
    scaled_golden,
    simple,
    vla,
)


def test_the_documented_example_runs_end_to_end(tmp_path):
    found = card(vla(tmp_path / "my_vla"))
    assert (found.name, found.policy.type, found.toolchain) == ("my_vla", "my_vla", "host")
    assert found.components == ("vision", "prefix", "action_step")
    assert found.policy.observation("state").shape == (6,)
    exported = export(tmp_path / "my_vla", tmp_path / "out")
    assert [step.id for step in exported.program.steps][4:6] == ["vision", "vision_2"]
    actions, expected = run_cases(exported, tmp_path / "out")
    np.testing.assert_allclose(actions, expected, rtol=2e-5, atol=2e-5)


def test_the_yaml_itself_and_its_folder_are_the_same_checkpoint(tmp_path):
    folder = vla(tmp_path / "my_vla")
    source = PartsSource()
    assert source.sniff(folder)
    assert source.sniff(folder / "policy.yaml")
    assert not source.sniff(folder / "vision.onnx")
    assert card(folder).digest == card(folder / "policy.yaml").digest
    assert card(folder / "policy.yaml").name == "my_vla"


@pytest.mark.parametrize("file", ["vision.onnx", "stats.npz", "tokenizer.json", "golden.npz"])
def test_every_file_decides_the_digest_and_must_be_there(tmp_path, file):
    folder = vla(tmp_path / "my_vla")
    before = card(folder).digest
    data = (folder / file).read_bytes()
    if file == "tokenizer.json":
        (folder / file).write_text(json.dumps(json.loads(data)))
        assert card(folder).digest != before
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match=re.escape(file)):
        card(folder)
    (folder / file).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=re.escape(file)):
        card(folder)


def test_one_graph_without_golden_data_is_evaluated(tmp_path):
    folder = simple(tmp_path / "p", PLAIN)
    np.savez(tmp_path / "observations.npz", x=np.float32([[1, 2, 3], [4, 5, 6]]))
    exported = export(folder, tmp_path / "out", tmp_path / "observations.npz")
    assert exported.reference.endswith("without optimisation")
    assert exported.inputs_kind == "synthetic"
    actions, expected = run_cases(exported, tmp_path / "out")
    np.testing.assert_array_equal(actions, [[[2, 4, 6]], [[8, 10, 12]]])
    np.testing.assert_array_equal(actions, expected)


def test_one_graph_with_a_state_is_evaluated_as_a_sequence(tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    ports = {"x": ["f", 1, 3], "h_in": ["f", 1, 3]}
    nodes = [node("Add", "x h_in", "h_out"), node("Identity", "h_out", "y")]
    graph(folder / "net.onnx", nodes, ports, {"y": ["f", 1, 3], "h_out": ["f", 1, 3]})
    steps = "states: [h]\nsteps:\n  - {component: net, in: {h_in: h}, out: {h_out: h, y: y}}\n"
    (folder / "policy.yaml").write_text(PLAIN + steps)
    np.savez(tmp_path / "observations.npz", x=np.float32([[1, 2, 3], [4, 5, 6], [1, 1, 1]]))
    exported = export(folder, tmp_path / "out", tmp_path / "observations.npz")
    assert exported.program.states == ("h",)
    with np.load(tmp_path / "out/golden.npz") as golden:
        np.testing.assert_array_equal(golden["out.y"][:, 0], [[1, 2, 3], [5, 7, 9], [6, 8, 10]])


def test_sizes_are_said_in_the_policy_file(tmp_path):
    folder = simple(tmp_path / "p", PLAIN)
    with pytest.raises(UsageError, match=r"--shape") as caught:
        PartsSource().declared_card(folder, sha256_of, Declared({"x": (1, 3)}))
    assert "dims" in caught.value.hint


def test_statistics_stand_for_what_training_did(tmp_path):
    folder = simple(tmp_path / "p", SCALED, **scaled_golden())
    exported = export(folder, tmp_path / "out")
    assert exported.inputs_kind == "recorded"
    assert exported.reference == "golden.npz"
    actions, expected = run_cases(exported, tmp_path / "out")
    np.testing.assert_allclose(actions, expected, rtol=1e-6)


def test_more_than_a_bare_graph_needs_golden_data(tmp_path):
    with pytest.raises(CheckpointError, match=r"in\.state \[cases, 3\]; out\.action \[cases, 1, 3\]") as caught:
        card(simple(tmp_path / "p", SCALED))
    assert "numpy.savez" in caught.value.hint


def test_a_recurrent_state_is_fed_back(tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    graph(
        folder / "cell.onnx", [node("Add", "x h", "h_next"), node("Identity", "h_next", "y")],
        {"x": ["f", 1, 2], "h": ["f", 1, 2]}, {"y": ["f", 1, 2], "h_next": ["f", 1, 2]},
    )  # fmt: skip
    yaml = """
policy: v1
observe: {x: {kind: state}}
action: {shape: [2], tensor: y}
components: {cell: cell.onnx}
states: [h]
steps:
  - {component: cell, out: {y: y, h_next: h}}
"""
    (folder / "policy.yaml").write_text(yaml)
    np.savez(folder / "golden.npz", **{"in.x": np.ones((3, 2)), "out.y": np.float32([[1, 1], [2, 2], [3, 3]])})
    exported = export(folder, tmp_path / "out")
    assert exported.program.states == ("h",)
    actions, expected = run_cases(exported, tmp_path / "out")
    np.testing.assert_array_equal(actions, expected)
    # A state of another shape.
    graph(
        folder / "cell.onnx", [node("Add", "x h", "y"), node("Concat", "y y", "h_next", axis=1)],
        {"x": ["f", 1, 2], "h": ["f", 1, 2]}, {"y": ["f", 1, 2], "h_next": ["f", 1, 4]},
    )  # fmt: skip
    with pytest.raises(ProgramError, match=r"'cell'.*'h_next'.*\[1, 4\].*'h'.*\[1, 2\]"):
        card(folder)


def test_ddim_is_what_its_paper_says(tmp_path):
    folder = diffusion(tmp_path / "p", "ddim", ", clip: 1.0")
    rng = np.random.default_rng(0)
    obs, noise = rng.normal(size=(2, 2, 2)).astype(np.float32), rng.normal(size=(2, 4, 2)).astype(np.float32)
    betas = [min(1 - np.cos((i + 1.72) / 90.72 * np.pi / 2) ** 2 / np.cos((i + 0.72) / 90.72 * np.pi / 2) ** 2, 0.999)
             for i in range(90)]  # fmt: skip
    alphas = np.cumprod(1 - np.float64(betas))
    wanted = []
    for case in range(2):
        x = noise[case].astype(np.float64)
        for now, after in ((60, alphas[30]), (30, alphas[0]), (0, 1.0)):
            eps = np.tanh(x + now * 0.01 + obs[case].mean())
            clean = np.clip((x - np.sqrt(1 - alphas[now]) * eps) / np.sqrt(alphas[now]), -1, 1)
            x = np.sqrt(after) * clean + np.sqrt(1 - after) * eps
        wanted.append(x)
    np.savez(folder / "golden.npz", **{"in.obs": obs, "in.x": noise, "out.x": np.float32(wanted)})
    exported = export(folder, tmp_path / "out")
    assert exported.policy.history == 2
    actions, expected = run_cases(exported, tmp_path / "out")
    np.testing.assert_allclose(actions, expected, atol=1e-5)


def test_ddpm_takes_new_noise_in_every_pass(tmp_path):
    folder = diffusion(tmp_path / "p", "ddpm", ", noise: z")
    text = (folder / "policy.yaml").read_text()
    (folder / "policy.yaml").write_text(
        text.replace("- {component: unet}", "- {component: unet}\n      - {op: noise, out: z}")
    )
    rng = np.random.default_rng(0)
    obs, noise = rng.normal(size=(2, 2, 2)), rng.normal(size=(2, 4, 2))
    np.savez(folder / "golden.npz", **{"in.obs": obs, "in.x": noise, "out.x": np.zeros((2, 4, 2))})
    with pytest.raises(CheckpointError, match=r"no in\.z; it must hold: .*in\.z \[cases, 3, 4, 2\]"):
        card(folder)
    each = {"in.z": rng.normal(size=(2, 3, 4, 2))}
    np.savez(folder / "golden.npz", **{"in.obs": obs, "in.x": noise, "out.x": np.zeros((2, 4, 2))}, **each)
    exported = export(folder, tmp_path / "out")
    first, _ = run_cases(exported, tmp_path / "out")
    np.savez(folder / "golden.npz", **{"in.obs": obs, "in.x": noise, "out.x": first, "in.z": each["in.z"] * 2})
    (tmp_path / "again").mkdir()
    second, expected = run_cases(export(folder, tmp_path / "again"), tmp_path / "again")
    assert not np.allclose(second, expected, atol=1e-3)


EVERYTHING = """
policy: v1
name: everything
observe:
  camera: {kind: visual, shape: [8, 8, 3]}
  state: {kind: state, shape: [2]}
  task: {kind: language}
action: {shape: [2], chunk: 1}
components: {encoder: encoder.onnx, lm: lm.onnx}
tensors: {chunk: {shape: [4, 2]}}
states: [memory]
steps:
  - {op: resize, in: camera, out: small, size: [4, 4], fit: stretch, anchor: bottom_right, dtype: uint8}
  - {op: normalise, in: small, out: planes, planes: true, divide: 255}
  - {op: normalise, in: state, out: state_n, min: [0, -1], max: [1, 1], to: [0, 1]}
  - {op: tokenise, in: task, file: tokenizer.json, length: 6, template: "{text} at {state}", state: state_n, pad_id: 2}
  - {op: generate, component: lm, ids: ids, mask: mask, out: said, stop_id: 3, length: 8}
  - {op: noise, out: x, shape: [4, 2]}
  - repeat: 2
    each: {weight: [[1], [2]]}
    steps:
      - {component: encoder, out: {v: v, kept: memory}}
      - {op: noise, out: more}
      - op: integrate
        sample: x
        prediction: v
        noise: more
        predicts: sample
        clip: 2
        table: [[1, 0, 1, 0, 0, 0.5], [1, 0, 1, 0, 0, 0]]
  - {op: slice, in: x, out: part, shape: [4, 1], start: [0, 1]}
  - {op: unnormalise, in: x, out: chunk, offset: 1, scale: [2, 3]}
  - {op: ensemble, in: chunk, out: action, coefficient: 0.1}
"""


def test_a_file_can_say_everything_that_a_program_can(tmp_path):
    folder = vla(tmp_path / "my_vla")
    (folder / "policy.yaml").write_text(EVERYTHING)
    graph(
        folder / "encoder.onnx",
        [node("Cast", "said", "said_f", to=TensorProto.FLOAT), node("ReduceMean", "planes", "m", keepdims=0),
         node("ReduceMean", "said_f", "s", keepdims=0), node("Sum", "memory m s", "kept"),
         node("Mul", "x weight", "w"), node("Add", "w kept", "v")],
        {"planes": ["f", 1, 3, 4, 4], "said": ["i", 1, 8], "memory": ["f", 1, 1], "x": ["f", 1, 4, 2],
         "weight": ["f", 1]},
        {"v": ["f", 1, 4, 2], "kept": ["f", 1, 1]},
    )  # fmt: skip
    graph(folder / "lm.onnx", [node("Identity", "ids", "y")], {"ids": ["i", 1, 6]}, {"y": ["i", 1, 6]})
    frames, texts = np.zeros((2, 8, 8, 3), np.uint8), np.array(["lift", "it"])
    golden = {"in.camera": frames, "in.state": np.zeros((2, 2)), "in.task": texts, "in.x": np.zeros((2, 4, 2))}
    golden |= {"in.more": np.zeros((2, 2, 4, 2)), "out.action": np.zeros((2, 1, 2)), "out.chunk": np.zeros((2, 4, 2))}
    np.savez(folder / "golden.npz", **golden)
    exported = export(folder, tmp_path / "out")
    flat = [step for step, _ in flat_steps(exported.program.steps)]
    used = {type(step) for step in (*exported.program.steps, *flat)}
    assert used == set(get_args(Step))
    by_id = {step.id: step for step in flat}
    assert by_id["tokenise"] == Tokenise(
        "tokenise", "task", "ids", "mask", "tokenizer.json", 2, "", "{text} at {state}", "state_n"
    )
    assert by_id["generate"] == Generate("generate", "lm", "ids", "said", 3, "mask")
    shapes = {spec.name: (spec.dtype, spec.shape) for spec in exported.program.tensors}
    assert shapes["small"] == (DType.UINT8, (4, 4, 3))
    assert shapes["planes"] == (DType.FLOAT32, (1, 3, 4, 4))
    assert shapes["said"] == (DType.INT64, (8,))
    assert shapes["mask"] == (DType.BOOL, (6,))
    assert shapes["part"] == (DType.FLOAT32, (4, 1))
    with np.load(tmp_path / "out/arrays.npz") as arrays:
        np.testing.assert_allclose(arrays["normalise_2.offset"], [0, -1])
        np.testing.assert_allclose(arrays["normalise_2.scale"], [1, 2])
        np.testing.assert_allclose(arrays["normalise.scale"], [255] * 3)
        np.testing.assert_allclose(arrays["repeat.weight"], [[1], [2]])
        assert arrays["integrate.table"].shape == (2, 6)


def test_noise_of_another_length_is_refused(tmp_path):
    folder = diffusion(tmp_path / "p", "ddim")
    obs, noise = np.zeros((2, 2, 2), np.float32), np.zeros((2, 5, 2), np.float32)
    np.savez(folder / "golden.npz", **{"in.obs": obs, "in.x": noise, "out.x": np.zeros((2, 4, 2), np.float32)})
    with pytest.raises(ShapeError, match=r"the noise in\.x is \[2, 5, 2\]; wanted 2 cases of \[4, 2\]"):
        card(folder)


def test_parts_of_two_exports_never_meet(tmp_path):
    folder = vla(tmp_path / "my_vla")
    for name, id_ in (("vision", "a"), ("prefix", "a"), ("action_step", "a")):
        model = onnx.load(str(folder / f"{name}.onnx"))
        helper.set_model_props(model, {"edgectl.export": id_})
        onnx.save(model, str(folder / f"{name}.onnx"))
    assert any("export a" in note for note in card(folder).notes)
    helper.set_model_props(model, {"edgectl.export": "b"})
    onnx.save(model, str(folder / "action_step.onnx"))
    with pytest.raises(CheckpointError, match="action_step 'b'"):
        card(folder)


def test_a_digest_of_a_component_is_compared(tmp_path):
    folder = simple(tmp_path / "p", PLAIN)
    digest = sha256_of(folder / "net.onnx").hex
    text = PLAIN.replace("net.onnx", f"{{file: net.onnx, sha256: {digest}}}")
    (folder / "policy.yaml").write_text(text)
    assert card(folder).components == ("net",)
    (folder / "policy.yaml").write_text(text.replace(digest[:4], "0000"))
    with pytest.raises(CheckpointError, match="not the one"):
        card(folder)


def test_free_dimensions_take_the_sizes_of_the_file(tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    graph(
        folder / "net.onnx", [node("Concat", "x x", "y", axis=1)], {"x": ["f", "n", "seq"]}, {"y": ["f", "n", "what"]}
    )
    text = PLAIN.replace("shape: [3]", "shape: [6]")
    (folder / "policy.yaml").write_text(text)
    with pytest.raises(CheckpointError, match="'seq' of 'x' is free") as caught:
        card(folder)
    assert "dims: {seq: SIZE}" in caught.value.hint
    (folder / "policy.yaml").write_text(text + "dims: {seq: 3}\n")
    found = card(folder).policy.observation("x")
    assert (found.shape, found.dtype, found.kind) == ((3,), DType.FLOAT32, FeatureKind.TENSOR)
