"""A denoiser with everything that can go wrong in a large policy: besides cameras and a state an instruction, a resize,
a KV cache with rotary positions. As a release for onnxrt, in fp32 and int8, laid out as conversions do it.

Its weights are random, and chosen so that every input moves the action about as much as the noise does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgectl_agent.worker.golden import read_golden
from edgectl_agent.worker.release import read_release
from edgectl_agent.worker.session import Session
from edgectl_converters.targets.base import BuildRequest
from edgectl_converters.targets.onnxrt import OnnxRuntimeTarget
from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.bundle import Component, Golden
from edgectl_protos.domain.loop import SourceKind, SourceSpec
from edgectl_protos.domain.policy import Feature, FeatureKind
from edgectl_protos.domain.program import Tokenise
from edgectl_protos.worker.messages import Capture
from edgectl_testkit import injected
from edgectl_testkit.bundles import npz_bytes, release_dir
from edgectl_testkit.denoisers import Array, Denoiser
from edgectl_testkit.executors import ExecutorMaker
from edgectl_testkit.programs import Node, graph_of, spec
from edgectl_testkit.stub_bundles import write_bundle

__all__ = ["lay_out_fp32", "lay_out_int8"]

TOP, WRIST, STATE, TASK = "observation.images.top", "observation.images.wrist", "observation.state", "task"
HEIGHT, WIDTH, SIDE = 24, 32, 16
JOINTS = 3
CHUNK, ACTIONS, PASSES = 8, JOINTS + 1, 5
TOKENS, WORDS, INNER = 4, 5, 16
PREFIX = 2 * TOKENS + WORDS + 1
_BASE = 100.0
"""Of the rotary positions."""
TASKS = ("pick up the cube", "open the drawer", "press the pad")
CASES = 8

_TARGET = OnnxRuntimeTarget()
_SHAPE = Denoiser(
    name="small",
    cameras={"top": TOP, "wrist": WRIST},
    state=STATE,
    frame=(HEIGHT, WIDTH),
    planes=(SIDE, SIDE),
    tokens=(1, TOKENS, INNER),
    dimensions=(*(f"joint {index + 1}" for index in range(JOINTS)), "gripper"),
    state_size=JOINTS,
    chunk=CHUNK,
    use=4,
    passes=PASSES,
    memory=(spec("k", 1, PREFIX, INNER), spec("v", 1, PREFIX, INNER)),
)
_WORDS = (spec("ids", 1, WORDS, dtype=DType.INT64), spec("mask", 1, WORDS, dtype=DType.BOOL))


def lay_out_fp32(folder: Path) -> Path:
    """The release, its golden actions by the reference evaluator, its trace by the oracle."""
    made = [(replace(one, runtime="onnxrt", tolerance=_TARGET.tolerance("fp32")), graph) for one, graph in _parts()]
    golden = {f"in.{name}": rows for name, rows in _observations(CASES, 1).items()}
    golden["in.x"] = np.random.default_rng(2).standard_normal((CASES, CHUNK, ACTIONS)).astype(np.float32)
    golden["out.action"] = np.zeros((CASES, CHUNK, ACTIONS), np.float32)
    files = {f"{one.folder}/{one.entry}": graph for one, graph in made}
    files |= {"arrays.npz": npz_bytes(_arrays()), "tokenizer.json": _tokenizer(), "loop.json": _loop()}
    components = [one for one, _ in made]
    unknown = read_release(_write(folder / "unknown", components, files | {"golden.npz": npz_bytes(golden)}))
    cases = read_golden(unknown)
    assert cases is not None
    golden["out.action"] = cases.run(ExecutorMaker(unknown)())
    files["golden.npz"] = npz_bytes(golden)
    oracle = injected.Laid.copy(_write(folder / "untraced", components, files), folder / "oracle")
    injected.as_oracle(oracle)
    injected.trace(oracle.folder, folder / "trace.npz")
    return _write(folder / "fp32", components, files | {"trace.npz": (folder / "trace.npz").read_bytes()})


def lay_out_int8(fp32: Path, folder: Path) -> Path:
    """The fp32 release with its components quantised by the target, calibrated on other observations."""
    observations = folder / "observations.npz"
    observations.write_bytes(npz_bytes(_observations(32, 3)))
    release = read_release(fp32)
    session = Session(fp32, 1, started_s=0.0)
    built, files = [], {entry.path: release.path(entry.path).read_bytes() for entry in release.manifest.files}
    for one in release.manifest.components:
        calibration, out = folder / f"{one.name}.npz", folder / "built" / one.name
        out.mkdir(parents=True)
        session.capture(Capture(one.name, str(observations), str(calibration), 64), lambda share: None)
        _TARGET.build(
            BuildRequest(
                runtime="onnxrt",
                component=one.name,
                form="onnx",
                graph=str(release.artifact(one)),
                inputs=one.inputs,
                outputs=one.outputs,
                scheme="int8",
                variant="default",
                calibration=str(calibration),
                out=str(out),
            ),
            lambda text: None,
        )
        files[f"{one.folder}/{one.entry}"] = (out / "model.onnx").read_bytes()
        built.append(replace(one, scheme="int8", tolerance=_TARGET.tolerance("int8")))
    session.close()
    return _write(folder / "int8", built, files)


def _write(folder: Path, components: Sequence[Component], files: Mapping[str, bytes]) -> Path:
    tokenise = Tokenise("tokenise", TASK, "ids", "mask", "tokenizer.json", 0, suffix="\n")
    prefix = {camera: f"{camera}.tokens" for camera in _SHAPE.cameras} | {"ids": "ids", "mask": "mask"}
    words = [spec(one.name, WORDS, dtype=one.dtype) for one in _WORDS]
    trace = "trace.npz" if "trace.npz" in files else ""
    bundle = folder.with_name(f"{folder.name}.bundle")
    write_bundle(
        bundle,
        files,
        name=_SHAPE.name,
        policy=_SHAPE.policy(Feature(TASK, FeatureKind.LANGUAGE, DType.TEXT, ())),
        program=_SHAPE.program(prefix, tokenise, tensors=words),
        components=components,
        golden=Golden("golden.npz", CASES, "reference evaluator", "synthetic", trace),
    )
    return release_dir(bundle, folder)


def _observations(count: int, seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    found = {}
    for name in (TOP, WRIST):
        coarse = random.integers(0, 256, (count, 3, 4, 3), dtype=np.uint8)
        found[name] = np.kron(coarse, np.ones((1, HEIGHT // 3, WIDTH // 4, 1), np.uint8))
    found[STATE] = random.normal([10, -20, 5], [40, 25, 30], (count, JOINTS)).astype(np.float32)
    return found | {TASK: np.array([TASKS[case % len(TASKS)] for case in range(count)])}


def _arrays() -> dict[str, Array]:
    state, action = np.array([[10, -20, 5], [40, 25, 30]]), np.array([[10, -20, 5, 0.02], [40, 25, 30, 0.01]])
    return _SHAPE.arrays(127.5, state, action)


def _loop() -> bytes:
    return canonical_bytes(_SHAPE.loop(SourceSpec(TASK, SourceKind.TEXT, text=TASKS[0])))


def _tokenizer() -> bytes:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Sequence, Split

    words = ["<pad>", "<unk>", "\n", *sorted({word for task in (*TASKS, "stop and wait") for word in task.split()})]
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Sequence([Split(" ", "removed"), Split("\n", "isolated")])
    return tokenizer.to_str().encode()


# --- the graphs ------------------------------------------------------------------------------------------------------


def _parts() -> list[tuple[Component, bytes]]:
    made = {_vision: _SHAPE.vision(), _prefix: _SHAPE.prefix(*_WORDS), _step: _SHAPE.step()}
    return [(one, graph(one).SerializeToString()) for graph, one in made.items()]


def _vision(made: Component) -> onnx.ModelProto:
    random = np.random.default_rng(11)
    side = SIDE // 2
    constants: dict[str, Array] = {
        "kernel": random.normal(0, 0.08, (INNER, 3, side, side)).astype(np.float32),
        "shape": np.array([1, INNER, TOKENS], np.int64),
    }
    nodes: list[Node | onnx.NodeProto] = [
        helper.make_node("Conv", ["image", "kernel"], ["patches"], strides=[side, side]),
        ("Reshape", ["patches", "shape"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["turned"], perm=[0, 2, 1]),
        ("Tanh", ["turned"], ["tokens"]),
    ]
    return graph_of(made, nodes, constants)


def _rotary(name: str, of: str, first: int, count: int) -> tuple[list[Node | onnx.NodeProto], dict[str, Array]]:
    """Rotary positions on `of` [1, count, INNER], the first half with the second, by tables of all positions."""
    half = INNER // 2
    angles = np.arange(PREFIX + CHUNK)[:, None] * _BASE ** (-np.arange(half) / half)
    constants: dict[str, Array] = {
        "table.cos": np.cos(angles).astype(np.float32),
        "table.sin": np.sin(angles).astype(np.float32),
        "positions": np.arange(first, first + count),
    }
    nodes: list[Node | onnx.NodeProto] = [
        ("Gather", ["table.cos", "positions"], ["cos"]),
        ("Gather", ["table.sin", "positions"], ["sin"]),
        helper.make_node("Split", [of], ["low", "high"], axis=-1, num_outputs=2),
        ("Mul", ["low", "cos"], ["low.cos"]),
        ("Mul", ["high", "sin"], ["high.sin"]),
        ("Mul", ["low", "sin"], ["low.sin"]),
        ("Mul", ["high", "cos"], ["high.cos"]),
        ("Sub", ["low.cos", "high.sin"], ["turned.low"]),
        ("Add", ["low.sin", "high.cos"], ["turned.high"]),
        helper.make_node("Concat", ["turned.low", "turned.high"], [name], axis=-1),
    ]
    return nodes, constants


def _prefix(made: Component) -> onnx.ModelProto:
    random = np.random.default_rng(12)

    def weights(*shape: int, size: float) -> Array:
        return random.normal(0, size, shape).astype(np.float32)

    nodes, constants = _rotary("k", "keys", 0, PREFIX)
    constants |= {
        "embedding": weights(16, INNER, size=1.0),
        "to.top": weights(INNER, INNER, size=0.4),
        "to.wrist": weights(INNER, INNER, size=0.4),
        "to.state": weights(JOINTS, INNER, size=0.8),
        "to.k": weights(INNER, INNER, size=0.3),
        "to.v": weights(INNER, INNER, size=0.3),
        "axis": np.array([1], np.int64),
        "last": np.array([-1], np.int64),
    }
    before: list[Node | onnx.NodeProto] = [
        ("MatMul", ["top", "to.top"], ["seen.top"]),
        ("MatMul", ["wrist", "to.wrist"], ["seen.wrist"]),
        ("Gather", ["embedding", "ids"], ["words"]),
        helper.make_node("Cast", ["mask"], ["real"], to=TensorProto.FLOAT),
        ("Unsqueeze", ["real", "last"], ["real.last"]),
        ("Mul", ["words", "real.last"], ["said"]),
        ("MatMul", ["felt", "to.state"], ["felt.flat"]),
        ("Unsqueeze", ["felt.flat", "axis"], ["felt.row"]),
        helper.make_node("Concat", ["seen.top", "seen.wrist", "said", "felt.row"], ["sequence"], axis=1),
        ("MatMul", ["sequence", "to.k"], ["keys"]),
        ("MatMul", ["sequence", "to.v"], ["v"]),
    ]
    return graph_of(made, [*before, *nodes], constants)


def _step(made: Component) -> onnx.ModelProto:
    random = np.random.default_rng(25)

    def weights(*shape: int, size: float) -> Array:
        return random.normal(0, size, shape).astype(np.float32)

    nodes, constants = _rotary("turned", "queries", PREFIX, CHUNK)
    constants |= {
        "to.inner": weights(ACTIONS, INNER, size=0.1),
        "places": weights(CHUNK, INNER, size=0.5),
        "to.time": weights(1, INNER, size=0.5),
        "to.q": weights(INNER, INNER, size=0.3),
        "to.hidden": weights(INNER, INNER, size=1.0),
        "to.action": weights(INNER, ACTIONS, size=0.4),
        "half": np.array(0.5, np.float32),
    }
    before: list[Node | onnx.NodeProto] = [
        ("MatMul", ["x", "to.inner"], ["inner"]),
        ("Mul", ["time", "to.time"], ["timed"]),
        ("Add", ["inner", "places"], ["placed"]),
        ("Add", ["placed", "timed"], ["hidden"]),
        ("MatMul", ["hidden", "to.q"], ["queries"]),
    ]
    after: list[Node | onnx.NodeProto] = [
        helper.make_node("Transpose", ["k"], ["k.turned"], perm=[0, 2, 1]),
        ("MatMul", ["turned", "k.turned"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["attention"], axis=-1),
        ("MatMul", ["attention", "v"], ["read"]),
        ("MatMul", ["read", "to.hidden"], ["mixed"]),
        ("Tanh", ["mixed"], ["known"]),
        ("MatMul", ["known", "to.action"], ["wanted"]),
        ("Mul", ["x", "half"], ["rest"]),
        ("Sub", ["rest", "wanted"], ["velocity"]),
    ]
    return graph_of(made, [*before, *nodes, *after], constants)
