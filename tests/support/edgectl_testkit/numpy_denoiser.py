"""A denoiser whose actions are known in plain numpy, as a release for the reference runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import helper

from edgectl_agent.worker.release import Release, read_release
from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.domain.bundle import Component, Golden
from edgectl_protos.domain.parity import Tolerance
from edgectl_testkit.bundles import npz_bytes, release_dir
from edgectl_testkit.denoisers import Denoiser
from edgectl_testkit.programs import graph_of, spec
from edgectl_testkit.stub_bundles import write_bundle

__all__ = ["DIMENSIONS", "arrays", "golden", "lay_out"]

DIMENSIONS = ("pan", "lift", "gripper")
HEIGHT, WIDTH, STATE_DIM, CHUNK, PASSES, CACHE = 6, 8, 3, 5, 4, 6
ACTION_DIM = len(DIMENSIONS)

_SHAPE = Denoiser(
    name="denoiser",
    cameras={"top": "top", "wrist": "wrist"},
    state="state",
    frame=(HEIGHT, WIDTH),
    planes=(HEIGHT, WIDTH),
    tokens=(1, 3),
    dimensions=DIMENSIONS,
    state_size=STATE_DIM,
    chunk=CHUNK,
    use=2,
    passes=PASSES,
    memory=(spec("cache", 1, CACHE),),
)


def lay_out(folder: Path, tolerance: Tolerance, *, coarse: float = 0.0) -> Release:
    """The release. `coarse` is the step of its weights, in parts of the largest: 1/127 for int8."""
    weights = _weights()
    if coarse:
        weights = {name: _rounded(value, coarse) for name, value in weights.items()}
    parts = _parts(weights, tolerance)
    cases = golden()
    files = {f"{one.folder}/{one.entry}": graph for one, graph in parts}
    files |= {"arrays.npz": npz_bytes(arrays()), "golden.npz": npz_bytes(cases)}
    files["loop.json"] = canonical_bytes(_SHAPE.loop())
    write_bundle(
        folder / "bundle",
        files,
        name=_SHAPE.name,
        policy=_SHAPE.policy(),
        program=_SHAPE.program({camera: f"{camera}.tokens" for camera in _SHAPE.cameras}),
        components=[one for one, _ in parts],
        golden=Golden("golden.npz", len(cases["in.x"]), "numpy", "synthetic"),
    )
    return read_release(release_dir(folder / "bundle", folder / "release"))


def arrays() -> dict[str, np.ndarray]:
    """What the steps of its program name."""
    state, action = np.array([[10, -60, 0.04], [40, 30, 0.03]]), np.array([[10, -60, 0.04], [40, 30, 0.03]])
    return _SHAPE.arrays(20.0, state, action)


def golden(cases: int = 6, *, seed: int = 2) -> dict[str, np.ndarray]:
    """Observations, noise, and what the policy does, in plain numpy."""
    rng = np.random.default_rng(seed)
    known, weights = arrays(), _weights()
    level = rng.uniform(60, 200, (2, cases, 1, 1, 3))
    frames = np.clip(level + rng.normal(0, 30, (2, cases, HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
    state = rng.normal(known["pre.state.offset"], known["pre.state.scale"], (cases, STATE_DIM)).astype(np.float32)
    drawn = rng.standard_normal((cases, CHUNK, ACTION_DIM)).astype(np.float32)
    tokens = ((frames.astype(np.float64) - 127.5) / 20.0).mean(axis=(2, 3))
    felt = (state - known["pre.state.offset"]) / known["pre.state.scale"]
    cache = np.tanh(np.concatenate([tokens[0], tokens[1], felt], axis=1) @ weights["prefix"])
    x = drawn.astype(np.float64)
    for time in known["times"]:
        pulled = (cache @ weights["step"]).reshape(x.shape)
        x = x - (x - np.tanh(0.3 * x + pulled + 0.1 * time)) / PASSES
    action = x * known["post.action.scale"] + known["post.action.offset"]
    return {
        "in.top": frames[0],
        "in.wrist": frames[1],
        "in.state": state,
        "in.x": drawn,
        "out.action": action.astype(np.float32),
    }


def _weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(17)
    return {
        "prefix": rng.normal(0, 1.0, (2 * 3 + STATE_DIM, CACHE)).astype(np.float32),
        "step": rng.normal(0, 0.5, (CACHE, CHUNK * ACTION_DIM)).astype(np.float32),
    }


def _parts(weights: Mapping[str, np.ndarray], tolerance: Tolerance) -> list[tuple[Component, bytes]]:
    vision, prefix, step = _SHAPE.vision(), _SHAPE.prefix(), _SHAPE.step()
    graphs = [
        graph_of(
            vision,
            [("ReduceMean", ["image", "axes"], ["kept"]), ("Reshape", ["kept", "flat"], ["tokens"])],
            {"axes": np.array([2, 3], np.int64), "flat": np.array([1, 3], np.int64)},
        ),
        graph_of(
            prefix,
            [
                helper.make_node("Concat", ["top", "wrist", "felt"], ["all"], axis=1),
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
                ("Mul", ["time", "tenth"], ["timed"]),
                ("Sum", ["pulled", "held", "timed"], ["sum"]),
                ("Tanh", ["sum"], ["wanted"]),
                ("Sub", ["x", "wanted"], ["velocity"]),
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


def _rounded(values: np.ndarray, coarse: float) -> np.ndarray:
    step = float(np.abs(values).max()) * coarse
    found: np.ndarray = (np.round(values / step) * step).astype(np.float32)
    return found
