from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.runtimes.reference import ReferenceRuntime
from edgectl_converters.card import Declared, sha256_of
from edgectl_converters.sources.base import ExportRequest
from edgectl_converters.sources.parts.source import PartsSource
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import (
    CheckpointCorruptError,
    CheckpointError,
    EdgectlError,
    NonFiniteError,
    OperatorError,
    ProgramError,
    ShapeError,
    TokenizerError,
    UsageError,
)
from edgectl_protos.domain.parity import Tolerance
from edgectl_protos.domain.policy import FeatureKind
from edgectl_protos.domain.program import Generate, Step, Tokenise, flat_steps

DOCS = Path(__file__).parents[4] / "docs/policy-file.md"
KINDS = {"f": TensorProto.FLOAT, "i": TensorProto.INT64, "b": TensorProto.BOOL}


def graph(path, nodes, inputs, outputs, constants=(), metadata=None):
    """Write a graph; inputs and outputs are `name: [type, *shape]`."""
    infos = [
        [helper.make_tensor_value_info(name, KINDS[kind], shape) for name, (kind, *shape) in side.items()]
        for side in (inputs, outputs)
    ]
    made = helper.make_graph(
        nodes, path.stem, *infos, [numpy_helper.from_array(v, k) for k, v in dict(constants).items()]
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    if metadata:
        helper.set_model_props(model, metadata)
    onnx.save(model, str(path))
    return path


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def simple(folder, yaml, **files):
    """A policy of one graph `net.onnx`, y = 2 x over [1, 3]."""
    folder.mkdir(exist_ok=True)
    graph(
        folder / "net.onnx", [node("Mul", "x two", "y")], {"x": ["f", 1, 3]}, {"y": ["f", 1, 3]},
        {"two": np.float32([2])},
    )  # fmt: skip
    (folder / "policy.yaml").write_text(yaml)
    if files:
        np.savez(folder / "golden.npz", **files)
    return folder


PLAIN = """
policy: v1
observe: {x: {kind: tensor}}
action: {shape: [3], tensor: y}
components: {net: net.onnx}
"""
SCALED = """
policy: v1
observe: {state: {kind: state}}
action: {shape: [3]}
components: {net: net.onnx}
steps:
  - {op: normalise, in: state, out: x, mean: [1, 2, 3], std: 2}
  - {component: net}
  - {op: unnormalise, in: y, out: action, min: [0, 0, 0], max: [2, 2, 4]}
"""


def scaled_golden(cases=2):
    state = np.arange(3 * cases, dtype=np.float32).reshape(cases, 3)
    y = 2 * (state - [1, 2, 3]) / 2
    action = y * [1, 1, 2] + [1, 1, 2]
    return {"in.state": state, "out.action": action.astype(np.float32)[:, None]}


def card(path):
    return PartsSource().card(path, sha256_of)


def export(path, out, observations=""):
    out.mkdir(exist_ok=True)
    request = ExportRequest("parts", str(path), str(out), str(observations), "synthetic", 0)
    return PartsSource().export(request, lambda text: None)


def run_cases(exported, out):
    """Run the golden cases as a device does, with the reference runtime; found and expected actions."""
    runtime = ReferenceRuntime()
    graphs = {}
    for part in exported.components:
        component = Component(
            part.name, "reference", "fp32", part.files["onnx"], part.inputs, part.outputs, Tolerance(0.0, 0.0, 0.0, 0.0)
        )  # fmt: skip
        graphs[part.name] = runtime.load(out / part.files["onnx"], component, 1)
    arrays = dict(np.load(out / "arrays.npz")) if exported.program.arrays else {}
    executor = Executor(exported.policy, exported.program, arrays, graphs, path_of=lambda name: out / name)
    golden = dict(np.load(out / "golden.npz"))
    found = []
    for case in range(exported.cases):
        observation = {f.name: golden[f"in.{f.name}"][case] for f in exported.policy.observations}
        noise = {name: golden[f"in.{name}"][case] for name in exported.program.noise}
        found.append(executor.run(observation, given=noise))
    return np.stack(found), golden[f"out.{exported.program.action}"]


# --- the example of the documentation ------------------------------------------------------------------


def vla(folder, *, layers=("key", "value")):
    """The policy of docs/policy-file.md, small, and what it computes, in numpy."""
    folder.mkdir()
    example = re.search(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]
    (folder / "policy.yaml").write_text(example)
    rng = np.random.default_rng(0)
    w = {
        "vision": rng.normal(size=(3, 4)).astype(np.float32),
        "key": rng.normal(size=(4, 8)).astype(np.float32) / 3,
        "value": rng.normal(size=(4, 8)).astype(np.float32) / 3,
    }
    graph(
        folder / "vision.onnx",
        [node("ReduceMean", "pixels axes", "m", keepdims=0), node("MatMul", "m w", "tokens")],
        {"pixels": ["f", "batch", 3, 16, 16]},
        {"tokens": ["f", "batch", 4]},
        {"axes": np.int64([2, 3]), "w": w["vision"]},
    )
    masked = [
        node("Cast", "mask", "real", to=TensorProto.FLOAT),
        node("Cast", "ids", "floats", to=TensorProto.FLOAT),
        node("Mul", "real floats", "kept"),
        node("ReduceMean", "kept axes", "text", keepdims=1),
        node("ReduceMean", "state axes", "s", keepdims=1),
        node("Sum", "top wrist text s", "all"),
    ]
    graph(
        folder / "prefix.onnx",
        [*masked, node("MatMul", "all wk", "present.0.key"), node("MatMul", "all wv", "present.0.value")],
        {"top": ["f", 1, 4], "wrist": ["f", 1, 4], "ids": ["i", 1, 6], "mask": ["b", 1, 6], "state": ["f", 1, 6]},
        {f"present.0.{layer}": ["f", 1, 8] for layer in layers},
        {"axes": np.int64([1]), "wk": w["key"], "wv": w["value"]},
    )
    graph(
        folder / "action_step.onnx",
        [
            node("Mul", "x past.0.key", "a"), node("Mul", "t past.0.value", "b"),
            node("Add", "a b", "c"), node("Tanh", "c", "v"),
        ],
        {"x": ["f", 1, 5, 8], "t": ["f", 1], "past.0.key": ["f", 1, 8], "past.0.value": ["f", 1, 8]},
        {"v": ["f", 1, 5, 8]},
    )  # fmt: skip
    mean, std = np.arange(6, dtype=np.float32), np.float32([1, 2, 1, 2, 1, 2])
    np.savez(folder / "stats.npz", **{"state.mean": mean, "state.std": std})
    vocabulary = {"[UNK]": 0, "lift": 1, "it": 2, "\n": 3}
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    lines = pre_tokenizers.Split("\n", "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(" ", "removed"), lines])
    tokenizer.save(str(folder / "tokenizer.json"))
    np.savez(folder / "golden.npz", **vla_golden(w, mean, std))
    return folder


def vla_golden(w, mean, std, cases=2):
    """Frames of one colour each, so that the resize is exact; the padding is black."""
    rng = np.random.default_rng(1)
    top = np.broadcast_to(rng.integers(0, 255, (cases, 1, 1, 3), np.uint8), (cases, 48, 64, 3))
    wrist = np.broadcast_to(rng.integers(0, 255, (cases, 1, 1, 3), np.uint8), (cases, 24, 32, 3))
    state, noise = rng.normal(size=(cases, 6)).astype(np.float32), rng.normal(size=(cases, 5, 8)).astype(np.float32)
    actions = []
    for case in range(cases):
        tokens = []
        for frame in (top[case], wrist[case]):
            padded = np.zeros((16, 16, 3), np.float32)
            padded[2:14] = frame[0, 0]
            tokens.append((((padded / 255) - 0.5) / 0.5).mean((0, 1)) @ w["vision"])
        text = np.float32([1, 3, 0, 0, 0, 0]).mean()
        everything = tokens[0] + tokens[1] + text + ((state[case] - mean) / std).mean()
        key, value = everything @ w["key"], everything @ w["value"]
        x = noise[case].copy()
        for at in range(10):
            t = np.float32(1 - at / 10)
            x = x - np.float32(0.1) * np.tanh(x * key + t * value)
        actions.append(x[:, :6] * [1, 1, 1, 1, 1, 50] + [0, 0, 0, 0, 0, 50])
    return {
        "in.images.top": top, "in.images.wrist": wrist, "in.state": state, "in.task": np.array(["lift"] * cases),
        "in.x": noise, "out.action": np.float32(actions),
    }  # fmt: skip


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


# --- small policies ------------------------------------------------------------------------------------


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


DDIM = """
policy: v1
observe: {obs: {kind: state, shape: [2]}}
history: 2
action: {shape: [2], chunk: 4, use: 2, tensor: x}
components: {unet: unet.onnx}
steps:
  - {op: noise, out: x}
  - repeat: 3
    each: {t: [60, 30, 0]}
    steps:
      - {component: unet}
      - {op: integrate, sample: x, prediction: eps, method: %s, times: t, betas: squaredcos_cap_v2, train_steps: 90%s}
"""


def diffusion(folder, method, more=""):
    folder.mkdir()
    graph(
        folder / "unet.onnx",
        [node("Cast", "t", "f", to=TensorProto.FLOAT), node("Mul", "f tiny", "g"),
         node("ReduceMean", "obs", "o", keepdims=0), node("Sum", "x g o", "h"), node("Tanh", "h", "eps")],
        {"x": ["f", 1, 4, 2], "t": ["i", 1], "obs": ["f", 1, 2, 2]}, {"eps": ["f", 1, 4, 2]},
        {"tiny": np.float32([0.01])},
    )  # fmt: skip
    (folder / "policy.yaml").write_text(DDIM % (method, more))
    return folder


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


# --- what bad files get --------------------------------------------------------------------------------

BROKEN = [
    ("net: net.onnx", "net: other.onnx", CheckpointError, "other.onnx"),
    ("net: net.onnx", "net: ../net.onnx", CheckpointError, "outside"),
    ("net: net.onnx", "net: /etc/passwd", CheckpointError, "outside"),
    ("net: net.onnx", "net: policy.yaml", CheckpointCorruptError, "policy.yaml"),
    ("net: net.onnx", "'../net': net.onnx", CheckpointError, "no name of a component"),
    ("policy: v1", "policy: v2", CheckpointError, "`policy: v1` is missing, found 'v2'"),
    ("policy: v1", "policy: v1\npolicy: v1", CheckpointError, "stands twice"),
    ("policy: v1", "policy: v1\nrate: 30", CheckpointError, "rate"),
    ("kind: state", "kind: smell", CheckpointError, "visual, state"),
    ("kind: state", "kind: visual", CheckpointError, "observe.state"),
    ("kind: state", "kind: state, shape: [0]", CheckpointError, "no shape"),
    ("kind: state", "kind: state, shape: [4]", ProgramError, r"'normalise' cannot turn 'state' \[4\] into 'x'"),
    ("kind: state", "kind: state, dtype: complex64", CheckpointError, "float32"),
    ("shape: [3]", "shape: [4]", ProgramError, r"'unnormalise'"),
    ("shape: [3]", "shape: [3], chunk: 0", CheckpointError, "0"),
    ("shape: [3]", "shape: [3], use: 2", CheckpointError, "2 actions of a chunk of 1"),
    ("op: normalise", "op: normalize", CheckpointError, "'normalize' is not known; known: resize, normalise"),
    ("op: normalise", "op: [1]", CheckpointError, "is not known"),
    ("- {component: net}", "- net", CheckpointError, r"steps\[1\] is no step"),
    ("component: net", "component: nut", ProgramError, "'nut'; components are: net"),
    ("component: net", "component: net, in: {z: x}", ProgramError, "no input 'z'; it has: x"),
    ("component: net", "component: net, in: {'z*': 'x*'}", ProgramError, r"no port is like 'z\*'"),
    ("component: net", "component: net, in: {x: ghost}", CheckpointError, "observe.state has no shape"),
    ("in: y, out: action", "in: z, out: action", CheckpointError, "the shape of the tensor 'z'"),
    ("in: y, out: action", "in: y, out: other", ProgramError, "no step of the program writes 'action'"),
    ("mean: [1, 2, 3]", "mean: [1, 2]", CheckpointError, "2 values"),
    ("mean: [1, 2, 3]", "mean: [1, [2]]", CheckpointError, "mean is neither"),
    ("mean: [1, 2, 3]", "mean: 1e999", CheckpointError, "not finite"),
    ("mean: [1, 2, 3]", "mean: 'stats.npz:mean'", CheckpointError, "stats.npz"),
    ("mean: [1, 2, 3]", "mean: 'golden.npz:mean'", CheckpointError, "no 'mean'; it has: in.state"),
    ("mean: [1, 2, 3]", "mean: .nan", CheckpointError, "no number"),
    ("mean: [1, 2, 3], std: 2", "divide: 0", CheckpointError, "divide"),
    ("mean: [1, 2, 3], std: 2", "mean: 1", CheckpointError, "both are needed"),
    ("mean: [1, 2, 3], std: 2", "mean: 1, std: [1, 0, 1]", CheckpointError, "divides by 0.*element 1"),
    ("mean: [1, 2, 3], std: 2", "mean: 1, std: 1, min: 0, max: 1", CheckpointError, "one pair"),
    ("- {component: net}", "- {op: noise, out: n}\n  - {component: net}", CheckpointError, "'n'"),
    ("- {component: net}", "- {repeat: 2, steps: [{repeat: 2, steps: [{component: net}]}]}", CheckpointError, "loop"),
    ("- {component: net}", "- {repeat: 0, steps: [{component: net}]}", CheckpointError, "repeated 0 times"),
    ("- {component: net}", "- {repeat: 2, each: {u: [1]}, steps: [{component: net}]}", ProgramError, "each.u has 1"),
    ("- {component: net}", "- &a {component: net}\n  - *a", CheckpointError, "anchor"),
    ("- {component: net}", "- !!python/object:os.system {}", CheckpointError, "tag"),
    ("- {component: net}", "- {component: net, id: a}\n  - {component: net, id: a}", ProgramError, "two steps"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "error", "text"), BROKEN)
def test_a_broken_file_says_what_is_wrong(tmp_path, old, new, error, text):
    assert old in SCALED
    folder = simple(tmp_path / "p", SCALED.replace(old, new), **scaled_golden())
    with pytest.raises(error, match=text):
        card(folder)


@pytest.mark.parametrize("file", ["openai/clip-vit-base-patch32", "absent.json", "../tokenizer.json", "policy.json"])
def test_a_tokenizer_that_is_no_file_here_is_refused(tmp_path, file):
    folder = vla(tmp_path / "my_vla")
    (folder / "policy.json").write_text("[1]")
    text = (folder / "policy.yaml").read_text()
    (folder / "policy.yaml").write_text(text.replace("tokenizer.json", file))
    with pytest.raises(TokenizerError):
        card(folder)


@pytest.mark.parametrize(
    ("step", "text"),
    [
        ("method: rk4", "known: euler, ddim, ddpm"),
        ("method: euler", "needs dt, or times"),
        ("method: euler, dt: -0.1, predicts: noise", "predicts: noise"),
        ("method: ddim, times: t", "alphas"),
        ("method: ddim, times: t, betas: cosine, train_steps: 90", "squaredcos_cap_v2"),
        ("method: ddim, times: t, betas: linear, train_steps: 50", "whole numbers of 0 to 49"),
        ("method: ddim, times: u, betas: linear, train_steps: 90", "no tensor of the loop's each; it has: t"),
        ("method: ddpm, times: t, alphas: [1, 1, 1]", "whole numbers|no coefficients"),
    ],
)
def test_an_integrator_says_what_it_lacks(tmp_path, step, text):
    folder = diffusion(tmp_path / "p", "ddim")
    yaml = (folder / "policy.yaml").read_text()
    (folder / "policy.yaml").write_text(re.sub(r"method: .*\}", step + "}", yaml))
    with pytest.raises(CheckpointError, match=text):
        card(folder)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"in.state": None}, CheckpointError, r"no in\.state; it must hold: in\.state \[cases, 3\]"),
        ({"in.state": np.zeros((3, 3))}, ShapeError, r"in\.state is \[3, 3\]; wanted 2 cases"),
        ({"in.state": np.array(["a", "b"])}, ShapeError, "in.state"),
        ({"out.action": np.zeros((2, 1, 3)) + np.nan}, NonFiniteError, "out.action"),
        ({"out.ghost": np.zeros((2, 3))}, CheckpointError, "out.ghost"),
        ({"out.action": np.zeros(())}, ShapeError, "some cases"),
    ],
)
def test_golden_data_that_do_not_fit_are_refused(tmp_path, change, error, text):
    golden = {key: value for key, value in (scaled_golden() | change).items() if value is not None}
    with pytest.raises(error, match=text):
        card(simple(tmp_path / "p", SCALED, **golden))


def test_pickled_golden_data_are_refused(tmp_path):
    folder = simple(tmp_path / "p", SCALED, **(scaled_golden() | {"in.state": np.array([{}, {}], object)}))
    with pytest.raises(CheckpointCorruptError, match=r"golden\.npz"):
        card(folder)


def test_an_unknown_operator_is_named(tmp_path):
    folder = simple(tmp_path / "p", PLAIN)
    graph(folder / "net.onnx", [node("FancyRelu", "x", "y")], {"x": ["f", 1, 3]}, {"y": ["f", 1, 3]})
    np.savez(tmp_path / "o.npz", x=np.zeros((1, 3), np.float32))
    with pytest.raises(OperatorError, match="FancyRelu"):
        export(folder, tmp_path / "out", tmp_path / "o.npz")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_change_of_the_file_gives_one_of_our_errors(tmp_path_factory, data):
    folder = simple(tmp_path_factory.mktemp("any") / "p", SCALED, **scaled_golden())
    text = bytearray(SCALED.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=3) | st.sampled_from(
            [b"{", b"}", b"[", b"]", b": ", b"*", b"&a ", b"!!", b"|", b"0x", b"-", b"1e400", b"null", b"'", b'"\\U'])
        )  # fmt: skip
    (folder / "policy.yaml").write_bytes(bytes(text))
    with contextlib.suppress(EdgectlError):
        card(folder)
