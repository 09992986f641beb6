"""A small policy with everything that can go wrong in a large one: two cameras, a state, an instruction, a KV cache
with rotary positions, a denoising loop, and a gripper in metres among joints in degrees. Laid out as conversions do it.

Its weights are random, and chosen so that every input moves the action about as much as the noise does.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from edgectl_agent.worker.components import import_runtimes, load_components
from edgectl_agent.worker.golden import read_golden
from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.release import read_release
from edgectl_agent.worker.session import Session
from edgectl_converters.targets.base import BuildRequest
from edgectl_converters.targets.onnxrt import OnnxRuntimeTarget
from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.domain.artifact import Digest, DType, FileEntry, TensorSpec
from edgectl_protos.domain.bundle import MANIFEST_NAME, Component, Golden, Manifest, Provenance
from edgectl_protos.domain.loop import Deadlines, Execution, LoopSpec, OnEnd, SourceKind, SourceSpec
from edgectl_protos.domain.policy import Dimension, Feature, FeatureKind, Policy
from edgectl_protos.domain.program import (
    Call,
    Fit,
    Integrate,
    Noise,
    Normalise,
    Prediction,
    Program,
    Repeat,
    Resize,
    Step,
    Tokenise,
    Unnormalise,
)
from edgectl_protos.worker.messages import Capture
from edgectl_testkit.bundles import npz_bytes
from edgectl_testkit.programs import Node, component, graph_of, spec

__all__ = ["lay_out_fp32", "lay_out_int8", "lay_out_oracle"]

Array = npt.NDArray[Any]

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


def lay_out_fp32(folder: Path) -> Path:
    """The release for onnxrt in fp32, its golden actions by the reference evaluator, its trace by the oracle."""
    release = folder / "fp32"
    observed = _observations(CASES, 1)
    noise = np.random.default_rng(2).standard_normal((CASES, CHUNK, ACTIONS)).astype(np.float32)
    golden = {f"in.{name}": rows for name, rows in observed.items()} | {"in.x": noise}
    golden["out.action"] = np.zeros((CASES, CHUNK, ACTIONS), np.float32)
    made = {name: _onnxrt(name, "fp32") for name in _GRAPHS}
    for name, graph in _GRAPHS.items():
        (release / made[name].folder).mkdir(parents=True)
        onnx.save(graph(), release / made[name].folder / "model.onnx")
    (release / "arrays.npz").write_bytes(npz_bytes(_arrays()))
    (release / "loop.json").write_bytes(canonical_bytes(_loop()))
    _write_tokenizer(release / "tokenizer.json")
    (release / "golden.npz").write_bytes(npz_bytes(golden))
    _write_manifest(release, tuple(replace(one, runtime="reference") for one in made.values()))
    golden["out.action"] = _run_golden(release)
    (release / "golden.npz").write_bytes(npz_bytes(golden))
    _write_manifest(release, tuple(made.values()))
    lay_out_oracle(release, folder / "oracle")
    session = Session(folder / "oracle", 1, started_s=0.0)
    session.trace(release / "trace.npz", lambda share: None)
    session.close()
    _write_manifest(release, tuple(made.values()), trace="trace.npz")
    return release


def lay_out_oracle(fp32: Path, out: Path) -> Path:
    """The fp32 release, run as exported, without a trace."""
    shutil.copytree(fp32, out)
    manifest = read_release(out).manifest
    assert manifest.golden is not None
    components = tuple(replace(one, options=dict(_TARGET.oracle or {})) for one in manifest.components)
    changed = replace(manifest, components=components, golden=replace(manifest.golden, trace=""))
    (out / MANIFEST_NAME).write_bytes(canonical_bytes(changed))
    return out


def lay_out_int8(fp32: Path, folder: Path) -> Path:
    """The fp32 release with its components quantised by the target, calibrated on other observations."""
    release = folder / "int8"
    shutil.copytree(fp32, release)
    (folder / "observations.npz").write_bytes(npz_bytes(_observations(32, 3)))
    session = Session(fp32, 1, started_s=0.0)
    built = []
    for one in read_release(fp32).manifest.components:
        calibration = folder / f"{one.name}.npz"
        session.capture(Capture(one.name, str(folder / "observations.npz"), str(calibration), 64), lambda share: None)
        out = release / one.folder
        (out / "model.onnx").unlink()
        _TARGET.build(
            BuildRequest(
                runtime="onnxrt",
                component=one.name,
                form="onnx",
                graph=str(fp32 / one.folder / "model.onnx"),
                inputs=one.inputs,
                outputs=one.outputs,
                scheme="int8",
                variant="default",
                calibration=str(calibration),
                out=str(out),
            ),
            lambda text: None,
        )
        built.append(replace(one, scheme="int8", tolerance=_TARGET.tolerance("int8")))
    session.close()
    _write_manifest(release, tuple(built), trace="trace.npz")
    return release


def _onnxrt(name: str, scheme: str) -> Component:
    found = _COMPONENTS[name]
    return replace(found, runtime="onnxrt", scheme=scheme, tolerance=_TARGET.tolerance(scheme))


def _run_golden(folder: Path) -> Array:
    release = read_release(folder)
    loaded = load_components(release, import_runtimes(release, {}), 1)
    executor = Executor(
        release.manifest.policy, release.manifest.program, release.arrays, loaded.graphs, path_of=release.path
    )
    golden = read_golden(release)
    assert golden is not None
    return golden.run(executor)


def _write_manifest(release: Path, components: tuple[Component, ...], *, trace: str = "") -> None:
    files = [path for path in sorted(release.rglob("*")) if path.is_file() and path.name != MANIFEST_NAME]
    manifest = Manifest(
        name="small",
        policy=_policy(),
        program=_program(),
        components=components,
        files=tuple(FileEntry(path.relative_to(release).as_posix(), 1, Digest("0" * 64)) for path in files),
        loop="loop.json",
        golden=Golden("golden.npz", CASES, "reference evaluator", "synthetic", trace),
        gates=(),
        provenance=Provenance(Digest("0" * 64), "testkit", ()),
    )
    (release / MANIFEST_NAME).write_bytes(canonical_bytes(manifest))


def _observations(count: int, seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    found = {}
    for name in (TOP, WRIST):
        coarse = random.integers(0, 256, (count, 3, 4, 3), dtype=np.uint8)
        found[name] = np.kron(coarse, np.ones((1, HEIGHT // 3, WIDTH // 4, 1), np.uint8))
    found[STATE] = random.normal([10, -20, 5], [40, 25, 30], (count, JOINTS)).astype(np.float32)
    return found | {TASK: np.array([TASKS[case % len(TASKS)] for case in range(count)])}


def _arrays() -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name in (TOP, WRIST):
        found |= {f"pre.{name}.offset": np.full(3, 127.5), f"pre.{name}.scale": np.full(3, 127.5)}
    found |= {f"pre.{STATE}.offset": np.array([10.0, -20, 5]), f"pre.{STATE}.scale": np.array([40.0, 25, 30])}
    found |= {"post.action.offset": np.array([10.0, -20, 5, 0.02]), "post.action.scale": np.array([40.0, 25, 30, 0.01])}
    found |= {"table": np.tile([1.0, 0, 0, 1, -1 / PASSES, 0], (PASSES, 1))}
    found |= {"times": 1 - np.arange(PASSES)[:, None] / PASSES}
    return {name: value.astype(np.float32) for name, value in found.items()}


def _policy() -> Policy:
    frames = tuple(Feature(name, FeatureKind.VISUAL, DType.UINT8, (HEIGHT, WIDTH, 3)) for name in (TOP, WRIST))
    state = Feature(STATE, FeatureKind.STATE, DType.FLOAT32, (JOINTS,))
    return Policy(
        type="small",
        observations=(*frames, state, Feature(TASK, FeatureKind.LANGUAGE, DType.TEXT, ())),
        action=Feature("action", FeatureKind.ACTION, DType.FLOAT32, (ACTIONS,)),
        chunk_size=CHUNK,
        n_action_steps=4,
        dimensions=(*(Dimension(f"joint {index + 1}") for index in range(JOINTS)), Dimension("gripper")),
    )


def _program() -> Program:
    frame = spec("frame", SIDE, SIDE, 3)
    planes = spec("planes", 3, SIDE, SIDE)
    tensors: list[TensorSpec] = []
    steps: list[Step] = []
    for name, feature in (("top", TOP), ("wrist", WRIST)):
        tensors += [replace(frame, name=f"{name}.frame"), replace(planes, name=f"{name}.planes")]
        tensors += [spec(f"{name}.tokens", 1, TOKENS, INNER)]
        steps += [
            Resize(f"{name}.resize", feature, f"{name}.frame", Fit.PAD),
            Normalise(f"{name}.normalise", f"{name}.frame", f"{name}.planes", f"pre.{feature}", planes=True),
            Call(f"{name}.vision", "vision", {"image": f"{name}.planes"}, {"tokens": f"{name}.tokens"}),
        ]
    steps += [
        Normalise("state", STATE, "state", f"pre.{STATE}"),
        Tokenise("tokenise", TASK, "ids", "mask", "tokenizer.json", 0, suffix="\n"),
        Call(
            "prefix",
            "prefix",
            {"top": "top.tokens", "wrist": "wrist.tokens", "ids": "ids", "mask": "mask", "state": "state"},
            {"k": "k", "v": "v"},
        ),
        Noise("noise", "x"),
        Repeat(
            "denoise",
            PASSES,
            (
                Call("step", "step", {"x": "x", "time": "time", "k": "k", "v": "v"}, {"velocity": "velocity"}),
                Integrate("integrate", "x", "velocity", "table", Prediction.VELOCITY),
            ),
            {"time": "times"},
        ),
        Unnormalise("post", "x", "action", "post.action"),
    ]
    tensors += [spec("state", JOINTS), spec("ids", WORDS, dtype=DType.INT64), spec("mask", WORDS, dtype=DType.BOOL)]
    tensors += [spec(name, 1, PREFIX, INNER) for name in ("k", "v")]
    tensors += [spec("x", CHUNK, ACTIONS), spec("time", 1), spec("velocity", CHUNK, ACTIONS)]
    tensors += [spec("action", CHUNK, ACTIONS)]
    return Program(tuple(tensors), tuple(steps), "action", arrays="arrays.npz")


def _loop() -> LoopSpec:
    cameras = [SourceSpec(name, SourceKind.SYNTHETIC, on_end=OnEnd.REPEAT) for name in (TOP, WRIST, STATE)]
    task = SourceSpec(TASK, SourceKind.TEXT, text=TASKS[0])
    return LoopSpec("small", 10.0, (*cameras, task), Execution(use=4), Deadlines.of_tick(0.1), measure_s=0.5)


def _write_tokenizer(path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Sequence, Split

    words = ["<pad>", "<unk>", "\n", *sorted({word for task in (*TASKS, "stop and wait") for word in task.split()})]
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Sequence([Split(" ", "removed"), Split("\n", "isolated")])
    tokenizer.save(str(path))


# --- the graphs ------------------------------------------------------------------------------------------------------

_COMPONENTS = {
    "vision": component("vision", [spec("image", 1, 3, SIDE, SIDE)], [spec("tokens", 1, TOKENS, INNER)]),
    "prefix": component(
        "prefix",
        [
            *(spec(name, 1, TOKENS, INNER) for name in ("top", "wrist")),
            spec("ids", 1, WORDS, dtype=DType.INT64),
            spec("mask", 1, WORDS, dtype=DType.BOOL),
            spec("state", 1, JOINTS),
        ],
        [spec(name, 1, PREFIX, INNER) for name in ("k", "v")],
    ),
    "step": component(
        "step",
        [spec("x", 1, CHUNK, ACTIONS), spec("time", 1), *(spec(name, 1, PREFIX, INNER) for name in ("k", "v"))],
        [spec("velocity", 1, CHUNK, ACTIONS)],
    ),
}


def _vision() -> onnx.ModelProto:
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
    return graph_of(_COMPONENTS["vision"], nodes, constants)


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


def _prefix() -> onnx.ModelProto:
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
        ("MatMul", ["state", "to.state"], ["felt.flat"]),
        ("Unsqueeze", ["felt.flat", "axis"], ["felt"]),
        helper.make_node("Concat", ["seen.top", "seen.wrist", "said", "felt"], ["sequence"], axis=1),
        ("MatMul", ["sequence", "to.k"], ["keys"]),
        ("MatMul", ["sequence", "to.v"], ["v"]),
    ]
    return graph_of(_COMPONENTS["prefix"], [*before, *nodes], constants)


def _step() -> onnx.ModelProto:
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
    return graph_of(_COMPONENTS["step"], [*before, *nodes, *after], constants)


_GRAPHS = {"vision": _vision, "prefix": _prefix, "step": _step}
