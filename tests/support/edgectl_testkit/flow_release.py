"""A small flow-matching policy of three components, as a release: cameras, a prefix that is computed once, a denoiser
that reads it at each of four passes. It draws noise, its joints are in degrees and its gripper in metres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import helper

from edgectl_agent.worker.operations import CallHook
from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.release import Release, read_release
from edgectl_agent.worker.runtimes.base import Graph
from edgectl_agent.worker.runtimes.generator import CachedGenerator, Generator
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.domain.artifact import Digest, DType
from edgectl_protos.domain.bundle import MANIFEST_NAME, Component, Golden, Manifest, Provenance
from edgectl_protos.domain.loop import Deadlines, Execution, LoopSpec, OnEnd, SourceKind, SourceSpec
from edgectl_protos.domain.parity import Tolerance
from edgectl_protos.domain.policy import Dimension, Feature, FeatureKind, Policy
from edgectl_protos.domain.program import Call, Integrate, Noise, Normalise, Prediction, Program, Repeat, Unnormalise
from edgectl_testkit.bundles import npz_bytes, release_dir
from edgectl_testkit.programs import component, graph_of, spec
from edgectl_testkit.stub_bundles import write_blobs

__all__ = ["DIMENSIONS", "Maker", "flow_arrays", "flow_golden", "flow_release"]

DIMENSIONS = ("pan", "lift", "gripper")
HEIGHT, WIDTH, STATE_DIM, CHUNK, USE, PASSES, CACHE = 6, 8, 3, 5, 2, 4, 6
ACTION_DIM = len(DIMENSIONS)
_CAMERAS = ("top", "wrist")


def _weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(17)
    return {
        "prefix": rng.normal(0, 1.0, (2 * 3 + STATE_DIM, CACHE)).astype(np.float32),
        "step": rng.normal(0, 0.5, (CACHE, CHUNK * ACTION_DIM)).astype(np.float32),
    }


def flow_arrays() -> dict[str, np.ndarray]:
    """Statistics, and the Euler steps from t = 1 to 0."""
    euler = np.array([[0, 0, 0, 1, -1 / PASSES, 0]] * PASSES, np.float32)
    return {
        "pre.frame.offset": np.full(3, 127.5, np.float32),
        "pre.frame.scale": np.full(3, 20.0, np.float32),
        "pre.state.offset": np.array([10, -60, 0.04], np.float32),
        "pre.state.scale": np.array([40, 30, 0.03], np.float32),
        "post.offset": np.array([10, -60, 0.04], np.float32),
        "post.scale": np.array([40, 30, 0.03], np.float32),
        "euler": euler,
        "times": np.linspace(1, 1 / PASSES, PASSES, dtype=np.float32)[:, None],
    }


def flow_golden(cases: int = 6, *, seed: int = 2) -> dict[str, np.ndarray]:
    """Observations, noise, and what the policy does, in plain numpy."""
    rng = np.random.default_rng(seed)
    arrays, weights = flow_arrays(), _weights()
    level = rng.uniform(60, 200, (2, cases, 1, 1, 3))
    frames = np.clip(level + rng.normal(0, 30, (2, cases, HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
    state = rng.normal(arrays["pre.state.offset"], arrays["pre.state.scale"], (cases, STATE_DIM)).astype(np.float32)
    drawn = rng.standard_normal((cases, CHUNK, ACTION_DIM)).astype(np.float32)
    tokens = ((frames.astype(np.float64) - 127.5) / 20.0).mean(axis=(2, 3))
    seen = (state - arrays["pre.state.offset"]) / arrays["pre.state.scale"]
    cache = np.tanh(np.concatenate([tokens[0], tokens[1], seen], axis=1) @ weights["prefix"])
    x = drawn.astype(np.float64)
    for t in arrays["times"]:
        pulled = (cache @ weights["step"]).reshape(x.shape)
        x = x - (x - np.tanh(0.3 * x + pulled + 0.1 * t)) / PASSES
    action = x * arrays["post.scale"] + arrays["post.offset"]
    return {
        "in.top": frames[0],
        "in.wrist": frames[1],
        "in.state": state,
        "in.x": drawn,
        "out.action": action.astype(np.float32),
    }


def _policy() -> Policy:
    frames = (Feature(name, FeatureKind.VISUAL, DType.UINT8, (HEIGHT, WIDTH, 3)) for name in _CAMERAS)
    return Policy(
        type="flow",
        observations=(*frames, Feature("state", FeatureKind.STATE, DType.FLOAT32, (STATE_DIM,))),
        action=Feature("action", FeatureKind.ACTION, DType.FLOAT32, (ACTION_DIM,)),
        chunk_size=CHUNK,
        n_action_steps=USE,
        dimensions=tuple(Dimension(name) for name in DIMENSIONS),
    )


def _program() -> Program:
    return Program(
        tensors=(
            *(spec(f"{camera}.planes", 3, HEIGHT, WIDTH) for camera in _CAMERAS),
            *(spec(f"{camera}.tokens", 1, 3) for camera in _CAMERAS),
            spec("seen", STATE_DIM),
            spec("cache", 1, CACHE),
            spec("x", CHUNK, ACTION_DIM),
            spec("v", CHUNK, ACTION_DIM),
            spec("t", 1),
            spec("action", CHUNK, ACTION_DIM),
        ),
        steps=(
            *(Normalise(f"norm.{camera}", camera, f"{camera}.planes", "pre.frame", planes=True) for camera in _CAMERAS),
            Normalise("norm.state", "state", "seen", "pre.state"),
            *(
                Call(f"see.{camera}", "vision", {"image": f"{camera}.planes"}, {"tokens": f"{camera}.tokens"})
                for camera in _CAMERAS
            ),
            Call(
                "prefix",
                "prefix",
                {"top": "top.tokens", "wrist": "wrist.tokens", "seen": "seen"},
                {"cache": "cache"},
            ),
            Noise("noise", "x"),
            Repeat(
                "flow",
                PASSES,
                (
                    Call("step", "step", {"x": "x", "t": "t", "cache": "cache"}, {"v": "v"}),
                    Integrate("euler", "x", "v", "euler", Prediction.VELOCITY),
                ),
                each={"t": "times"},
            ),
            Unnormalise("post", "x", "action", "post"),
        ),
        action="action",
        arrays="arrays.npz",
    )


def _parts(weights: Mapping[str, np.ndarray], tolerance: Tolerance) -> list[tuple[Component, bytes]]:
    vision = component("vision", [spec("image", 1, 3, HEIGHT, WIDTH)], [spec("tokens", 1, 3)])
    prefix = component(
        "prefix", [spec("top", 1, 3), spec("wrist", 1, 3), spec("seen", 1, STATE_DIM)], [spec("cache", 1, CACHE)]
    )
    step = component(
        "step",
        [spec("x", 1, CHUNK, ACTION_DIM), spec("t", 1), spec("cache", 1, CACHE)],
        [spec("v", 1, CHUNK, ACTION_DIM)],
    )
    graphs = [
        graph_of(
            vision,
            [("ReduceMean", ["image", "axes"], ["kept"]), ("Reshape", ["kept", "flat"], ["tokens"])],
            {"axes": np.array([2, 3], np.int64), "flat": np.array([1, 3], np.int64)},
        ),
        graph_of(
            prefix,
            [
                helper.make_node("Concat", ["top", "wrist", "seen"], ["all"], axis=1),
                ("MatMul", ["all", "weights"], ["sum"]),
                ("Tanh", ["sum"], ["cache"]),
            ],
            {"weights": weights["prefix"]},
        ),
        graph_of(
            step,
            [
                ("MatMul", ["cache", "weights"], ["row"]),
                ("Reshape", ["row", "chunk"], ["pulled"]),
                ("Mul", ["x", "third"], ["held"]),
                ("Mul", ["t", "tenth"], ["time"]),
                ("Sum", ["pulled", "held", "time"], ["sum"]),
                ("Tanh", ["sum"], ["wanted"]),
                ("Sub", ["x", "wanted"], ["v"]),
            ],
            {
                "weights": weights["step"],
                "chunk": np.array([1, CHUNK, ACTION_DIM], np.int64),
                "third": np.array(0.3, np.float32),
                "tenth": np.array(0.1, np.float32),
            },
        ),
    ]
    made = (replace(one, tolerance=tolerance) for one in (vision, prefix, step))
    return [(one, graph.SerializeToString()) for one, graph in zip(made, graphs, strict=True)]


def flow_release(folder: Path, tolerance: Tolerance, *, coarse: float = 0.0) -> Release:
    """The release, laid out. `coarse` is the step of its weights, in parts of the largest: 1/127 for int8."""
    weights = _weights()
    if coarse:
        weights = {name: _rounded(value, coarse) for name, value in weights.items()}
    parts = _parts(weights, tolerance)
    loop = LoopSpec(
        name="flow",
        rate_hz=100.0,
        sources=tuple(
            SourceSpec(name, SourceKind.SYNTHETIC, seed=index, on_end=OnEnd.REPEAT)
            for index, name in enumerate((*_CAMERAS, "state"))
        ),
        execution=Execution(use=USE),
        deadlines=Deadlines.of_tick(0.01),
        measure_s=0.1,
    )
    golden = flow_golden()
    files = {f"{one.folder}/{one.entry}": graph for one, graph in parts}
    files |= {"arrays.npz": npz_bytes(flow_arrays()), "golden.npz": npz_bytes(golden)}
    files["loop.json"] = canonical_bytes(loop)
    manifest = Manifest(
        name="flow",
        policy=_policy(),
        program=_program(),
        components=tuple(one for one, _ in parts),
        files=write_blobs(folder / "bundle", files),
        loop="loop.json",
        golden=Golden("golden.npz", len(golden["in.x"]), "numpy", "synthetic"),
        gates=(),
        provenance=Provenance(Digest("0" * 64), "testkit", ()),
    )
    (folder / "bundle" / MANIFEST_NAME).write_bytes(canonical_bytes(manifest))
    return read_release(release_dir(folder / "bundle", folder / "release"))


def _rounded(values: np.ndarray, coarse: float) -> np.ndarray:
    step = float(np.abs(values).max()) * coarse
    found: np.ndarray = (np.round(values / step) * step).astype(np.float32)
    return found


class Maker:
    """Executors of a release, over its graphs in the reference runtime."""

    def __init__(self, release: Release) -> None:
        self.release = release
        parts = release.manifest.components
        self.graphs: dict[str, Graph] = {
            one.name: create("reference").load(release.artifact(one), one, 1) for one in parts
        }
        self.generators: dict[str, Generator] = {
            one.name: CachedGenerator(self.graphs[one.name], one) for one in parts if one.states
        }

    def __call__(self, hook: CallHook | None = None) -> Executor:
        manifest = self.release.manifest
        return Executor(
            manifest.policy,
            manifest.program,
            self.release.arrays,
            self.graphs,
            path_of=self.release.path,
            generators=self.generators,
            hook=hook,
        )
