"""Small real bundles, made without the converters: a two-camera linear policy of one component, an ONNX graph.

The policy: action[c, a] = mean over all pixels of both normalised cameras + 0.5 * sum(normalised state)
+ 0.01 * c + 0.1 * a, un-normalised with scale 2, offset 1. Its golden outputs are computed here in numpy.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.bundle import MANIFEST_NAME, BuildRecipe, Component, Golden, Manifest
from edgectl_protos.domain.loop import Deadlines, Execution, LoopSpec, OnEnd, SourceKind, SourceSpec
from edgectl_protos.domain.parity import Tolerance
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy
from edgectl_protos.domain.program import Call, Normalise, Program, Unnormalise
from edgectl_testkit.stub_bundles import write_bundle

CAMERAS = ("observation.images.top", "observation.images.wrist")
STATE = "observation.state"
COMPONENT = "act"
HEIGHT, WIDTH, STATE_DIM, ACTION_DIM, CHUNK = 8, 10, 3, 2, 4


def tiny_graph(*, add: float = 0.0) -> bytes:
    """The policy as ONNX bytes: float32 CHW frames and state in, `action` [1, 4, 2] out."""
    base = np.fromfunction(lambda _, c, a: 0.01 * c + 0.1 * a + add, (1, CHUNK, ACTION_DIM), dtype=np.float32)
    frame = [1, 3, HEIGHT, WIDTH]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, frame) for name in ("top", "wrist")]
    inputs.append(helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, STATE_DIM]))
    nodes = [
        helper.make_node("ReduceMean", ["top", "axes"], ["t"], keepdims=0),
        helper.make_node("ReduceMean", ["wrist", "axes"], ["w"], keepdims=0),
        helper.make_node("ReduceSum", ["state", "axis1"], ["s"], keepdims=0),
        helper.make_node("Mul", ["s", "half"], ["h"]),
        helper.make_node("Add", ["t", "w"], ["tw"]),
        helper.make_node("Add", ["tw", "h"], ["sum"]),
        helper.make_node("Reshape", ["sum", "shape"], ["sum3"]),
        helper.make_node("Add", ["sum3", "base"], ["action"]),
    ]
    constants = {
        "axes": np.array([1, 2, 3], np.int64),
        "axis1": np.array([1], np.int64),
        "half": np.array(0.5, np.float32),
        "shape": np.array([1, 1, 1], np.int64),
        "base": base.astype(np.float32),
    }
    output = helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, CHUNK, ACTION_DIM])
    graph = helper.make_graph(
        nodes, "tiny", inputs, [output], [numpy_helper.from_array(v, k) for k, v in constants.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def tiny_arrays() -> dict[str, np.ndarray]:
    """What the program's steps name: frames (x/255 - 0.5)/0.25, state (x - 1)/2, action x * 2 + 1."""
    arrays = {}
    for camera in CAMERAS:
        arrays[f"pre.{camera}.offset"] = np.full(3, 127.5, np.float32)
        arrays[f"pre.{camera}.scale"] = np.full(3, 63.75, np.float32)
    arrays[f"pre.{STATE}.offset"] = np.full(STATE_DIM, 1.0, np.float32)
    arrays[f"pre.{STATE}.scale"] = np.full(STATE_DIM, 2.0, np.float32)
    arrays["post.action.offset"] = np.full(ACTION_DIM, 1.0, np.float32)
    arrays["post.action.scale"] = np.full(ACTION_DIM, 2.0, np.float32)
    return arrays


def tiny_policy() -> Policy:
    """What the checkpoint of the tiny policy would say about itself."""
    frames = tuple(Feature(camera, FeatureKind.VISUAL, DType.UINT8, (HEIGHT, WIDTH, 3)) for camera in CAMERAS)
    state = Feature(STATE, FeatureKind.STATE, DType.FLOAT32, (STATE_DIM,))
    return Policy(
        type="tiny",
        observations=(*frames, state),
        action=Feature("action", FeatureKind.ACTION, DType.FLOAT32, (ACTION_DIM,)),
        chunk_size=CHUNK,
        n_action_steps=2,
    )


def tiny_program() -> Program:
    """Normalise, one component, un-normalise."""
    top, wrist = CAMERAS
    return Program(
        tensors=(
            TensorSpec("top", DType.FLOAT32, (3, HEIGHT, WIDTH)),
            TensorSpec("wrist", DType.FLOAT32, (3, HEIGHT, WIDTH)),
            TensorSpec("state", DType.FLOAT32, (STATE_DIM,)),
            TensorSpec("chunk", DType.FLOAT32, (1, CHUNK, ACTION_DIM)),
            TensorSpec("action", DType.FLOAT32, (CHUNK, ACTION_DIM)),
        ),
        steps=(
            Normalise("norm.top", top, "top", f"pre.{top}", planes=True),
            Normalise("norm.wrist", wrist, "wrist", f"pre.{wrist}", planes=True),
            Normalise("norm.state", STATE, "state", f"pre.{STATE}"),
            Call("act", COMPONENT, {"top": "top", "wrist": "wrist", "state": "state"}, {"action": "chunk"}),
            Unnormalise("post", "chunk", "action", "post.action"),
        ),
        action="action",
        arrays="arrays.npz",
    )


def tiny_component(*, runtime: str = "reference", scheme: str = "fp32") -> Component:
    """The one component of the tiny policy."""
    return Component(
        name=COMPONENT,
        runtime=runtime,
        scheme=scheme,
        entry="model.onnx",
        inputs=(
            TensorSpec("top", DType.FLOAT32, (1, 3, HEIGHT, WIDTH)),
            TensorSpec("wrist", DType.FLOAT32, (1, 3, HEIGHT, WIDTH)),
            TensorSpec("state", DType.FLOAT32, (1, STATE_DIM)),
        ),
        outputs=(TensorSpec("action", DType.FLOAT32, (1, CHUNK, ACTION_DIM)),),
        tolerance=Tolerance(5e-3, 2.5e-2, 5e-3, 0.0),
    )


def tiny_loop(*, rate_hz: float = 200.0, measure_s: float = 0.5) -> LoopSpec:
    """A fast loop over synthetic sources."""
    return LoopSpec(
        name="tiny",
        rate_hz=rate_hz,
        sources=tuple(
            SourceSpec(name, SourceKind.SYNTHETIC, seed=index, on_end=OnEnd.REPEAT)
            for index, name in enumerate((*CAMERAS, STATE))
        ),
        execution=Execution(use=2),
        deadlines=Deadlines.of_tick(1 / rate_hz),
        measure_s=measure_s,
    )


def tiny_graph_loop(*, rate_hz: int, measure_s: float) -> str:
    """A loop file for `tiny_graph` as a checkpoint; its deadline is no question on any machine."""
    return f"""
loop: v1
name: tiny
rate: {rate_hz}Hz
measure: {measure_s}s
sources:
  top: {{kind: synthetic, on_end: repeat}}
  wrist: {{kind: synthetic, seed: 1, on_end: repeat}}
  state: {{kind: synthetic, seed: 2, on_end: repeat}}
execution: {{kind: sync_chunk, use: 1}}
deadlines: {{tick: {{max: 60s}}}}
"""


def tiny_golden(cases: int = 3, *, seed: int = 0, shift: float = 0.0) -> dict[str, np.ndarray]:
    """Raw observations and final actions; `shift` makes the actions wrong by that much."""
    rng = np.random.default_rng(seed)
    frames = {name: rng.integers(0, 256, (cases, HEIGHT, WIDTH, 3), dtype=np.uint8) for name in CAMERAS}
    state = rng.normal(1.0, 2.0, (cases, STATE_DIM)).astype(np.float32)
    total = sum((f.astype(np.float64) / 255 - 0.5).mean(axis=(1, 2, 3)) / 0.25 for f in frames.values())
    total = total + 0.5 * ((state.astype(np.float64) - 1) / 2).sum(axis=1)
    base = 0.01 * np.arange(CHUNK)[:, None] + 0.1 * np.arange(ACTION_DIM)[None, :]
    action = (total[:, None, None] + base) * 2 + 1 + shift
    golden = {f"in.{name}": value for name, value in frames.items()}
    return golden | {f"in.{STATE}": state, "out.action": action.astype(np.float32)}


def tiny_bundle(
    folder: Path,
    *,
    name: str = "tiny",
    runtime: str = "reference",
    scheme: str = "fp32",
    graph: bytes | None = None,
    golden_shift: float = 0.0,
    loop: LoopSpec | None = None,
    extra: dict[str, bytes] | None = None,
    recipe: BuildRecipe | None = None,
) -> tuple[Path, bytes]:
    """Write a bundle; the directory and the manifest bytes (whose sha256 is the release digest). With a recipe, its
    component is built by the device.
    """
    component, program = replace(tiny_component(runtime=runtime, scheme=scheme), recipe=recipe), tiny_program()
    files = {
        f"{component.folder}/{component.entry}": graph or tiny_graph(),
        program.arrays: npz_bytes(tiny_arrays()),
        "golden.npz": npz_bytes(tiny_golden(shift=golden_shift)),
        "loop.json": canonical_bytes(loop or tiny_loop()),
        **(extra or {}),
    }
    golden = Golden("golden.npz", 3, "numpy", "synthetic")
    policy = tiny_policy()
    data = write_bundle(folder, files, name=name, policy=policy, program=program, components=[component], golden=golden)
    return folder, data


def release_dir(bundle: Path, folder: Path) -> Path:
    """Lay a bundle out as a device does: files at their paths beside the manifest."""
    data = (bundle / MANIFEST_NAME).read_bytes()
    manifest = from_bytes(Manifest, data, what=MANIFEST_NAME)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_NAME).write_bytes(data)
    for entry in manifest.files:
        target = folder / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((bundle / "blobs" / "sha256" / entry.digest.hex).read_bytes())
    return folder


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays as the bytes of an .npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def with_rate(loop: LoopSpec, rate_hz: float) -> LoopSpec:
    """The loop at another rate, its tick deadline one period."""
    return replace(loop, rate_hz=rate_hz, deadlines=Deadlines.of_tick(1 / rate_hz))


def conv_graph() -> bytes:
    """A small graph with the operators that carry real work: a convolution and a matrix product."""
    rng = np.random.default_rng(0)
    weights = {
        "kernel": rng.normal(0, 0.2, (16, 3, 3, 3)).astype(np.float32),
        "matrix": rng.normal(0, 0.2, (16, 4)).astype(np.float32),
        "shape": np.array([1, 16], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["action"]),
    ]
    graph = helper.make_graph(
        nodes,
        "conv",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data
