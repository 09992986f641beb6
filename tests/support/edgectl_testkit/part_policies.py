"""Policies in parts as a team would write them: a policy.yaml beside ONNX graphs, with golden data made in numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.runtimes.reference import ReferenceRuntime
from edgectl_converters.card import CheckpointCard, sha256_of
from edgectl_converters.sources.base import Export, ExportRequest
from edgectl_converters.sources.parts.source import PartsSource
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.parity import Tolerance

__all__ = [
    "PLAIN",
    "SCALED",
    "card",
    "diffusion",
    "export",
    "graph",
    "node",
    "run_cases",
    "scaled_golden",
    "simple",
    "vla",
]

DOCS = Path(__file__).parents[3] / "docs/policy-file.md"
KINDS = {"f": TensorProto.FLOAT, "i": TensorProto.INT64, "b": TensorProto.BOOL}


def graph(
    path: Path,
    nodes: Sequence[Any],
    inputs: Mapping[str, list[Any]],
    outputs: Mapping[str, list[Any]],
    constants: Mapping[str, Any] = MappingProxyType({}),
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a graph; inputs and outputs are `name: [type, *shape]`."""
    infos = [
        [helper.make_tensor_value_info(name, KINDS[kind], shape) for name, (kind, *shape) in side.items()]
        for side in (inputs, outputs)
    ]
    made = helper.make_graph(nodes, path.stem, *infos, [numpy_helper.from_array(v, k) for k, v in constants.items()])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    if metadata:
        helper.set_model_props(model, metadata)
    onnx.save(model, str(path))
    return path


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """A node; names stand one behind the other in a text."""
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def simple(folder: Path, yaml: str, **files: Any) -> Path:
    """A policy of one graph `net.onnx`, y = 2 x over [1, 3]."""
    folder.mkdir(exist_ok=True)
    graph(
        folder / "net.onnx", [node("Mul", "x two", "y")], {"x": ["f", 1, 3]}, {"y": ["f", 1, 3]},
        {"two": np.array([2], np.float32)},
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


def scaled_golden(cases: int = 2) -> dict[str, Any]:
    """Golden data of SCALED."""
    state = np.arange(3 * cases, dtype=np.float32).reshape(cases, 3)
    y = 2 * (state - [1, 2, 3]) / 2
    action = y * [1, 1, 2] + [1, 1, 2]
    return {"in.state": state, "out.action": action.astype(np.float32)[:, None]}


def card(path: Path) -> CheckpointCard:
    """What the source says of it."""
    return PartsSource().card(path, sha256_of)


def export(path: Path, out: Path, observations: Path | str = "") -> Export:
    """Its export."""
    out.mkdir(exist_ok=True)
    request = ExportRequest("parts", str(path), str(out), str(observations), "synthetic", 0)
    return PartsSource().export(request, lambda text: None)


def run_cases(exported: Export, out: Path) -> tuple[Any, Any]:
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


def vla(folder: Path, *, layers: tuple[str, ...] = ("key", "value")) -> Path:
    """The policy of docs/policy-file.md, small, and what it computes, in numpy."""
    folder.mkdir()
    _, _, rest = DOCS.read_text().partition("```yaml\n")
    example, _, _ = rest.partition("```")
    (folder / "policy.yaml").write_text(example)
    rng = np.random.default_rng(0)
    w: dict[str, Any] = {
        "vision": rng.normal(size=(3, 4)).astype(np.float32),
        "key": rng.normal(size=(4, 8)).astype(np.float32) / 3,
        "value": rng.normal(size=(4, 8)).astype(np.float32) / 3,
    }
    graph(
        folder / "vision.onnx",
        [node("ReduceMean", "pixels axes", "m", keepdims=0), node("MatMul", "m w", "tokens")],
        {"pixels": ["f", "batch", 3, 16, 16]},
        {"tokens": ["f", "batch", 4]},
        {"axes": np.array([2, 3], np.int64), "w": w["vision"]},
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
        {"axes": np.array([1], np.int64), "wk": w["key"], "wv": w["value"]},
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
    mean, std = np.arange(6, dtype=np.float32), np.array([1, 2, 1, 2, 1, 2], np.float32)
    statistics: dict[str, Any] = {"state.mean": mean, "state.std": std}
    np.savez(folder / "stats.npz", **statistics)
    vocabulary = {"[UNK]": 0, "lift": 1, "it": 2, "\n": 3}
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    lines = pre_tokenizers.Split("\n", "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(" ", "removed"), lines])
    tokenizer.save(str(folder / "tokenizer.json"))
    np.savez(folder / "golden.npz", **vla_golden(w, mean, std))
    return folder


def vla_golden(w: Mapping[str, Any], mean: Any, std: Any, cases: int = 2) -> dict[str, Any]:
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
        text = np.array([1, 3, 0, 0, 0, 0], np.float32).mean()
        everything = tokens[0] + tokens[1] + text + ((state[case] - mean) / std).mean()
        key, value = everything @ w["key"], everything @ w["value"]
        x = noise[case].copy()
        for at in range(10):
            t = np.float32(1 - at / 10)
            x = x - np.float32(0.1) * np.tanh(x * key + t * value)
        actions.append(x[:, :6] * [1, 1, 1, 1, 1, 50] + [0, 0, 0, 0, 0, 50])
    return {
        "in.images.top": top, "in.images.wrist": wrist, "in.state": state, "in.task": np.array(["lift"] * cases),
        "in.x": noise, "out.action": np.array(actions, np.float32),
    }  # fmt: skip


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


def diffusion(folder: Path, method: str, more: str = "") -> Path:
    """A denoiser of three passes by this method."""
    folder.mkdir()
    graph(
        folder / "unet.onnx",
        [node("Cast", "t", "f", to=TensorProto.FLOAT), node("Mul", "f tiny", "g"),
         node("ReduceMean", "obs", "o", keepdims=0), node("Sum", "x g o", "h"), node("Tanh", "h", "eps")],
        {"x": ["f", 1, 4, 2], "t": ["i", 1], "obs": ["f", 1, 2, 2]}, {"eps": ["f", 1, 4, 2]},
        {"tiny": np.array([0.01], np.float32)},
    )  # fmt: skip
    (folder / "policy.yaml").write_text(DDIM % (method, more))
    return folder
