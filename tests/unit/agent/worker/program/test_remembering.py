"""Programs that remember: states, a history of observations, past predictions."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from edgectl_protos.domain.errors import ShapeError
from edgectl_protos.domain.program import Call, Ensemble, Normalise, Program, Resize, Slice
from edgectl_testkit.programs import component, graph_of, spec
from edgectl_testkit.small_policies import CHUNK, STATE_DIM, policy, random_frame, random_state, the_frame, the_state


def recurrent():
    """hidden' = 0.5 hidden + state; action = hidden' + 1"""
    made = component(
        "recurrent",
        [spec("state", 1, STATE_DIM), spec("hidden", 1, STATE_DIM)],
        [spec("next", 1, STATE_DIM), spec("chunk", 1, STATE_DIM)],
    )
    nodes = [
        ("Mul", ["hidden", "half"], ["old"]),
        ("Add", ["old", "state"], ["next"]),
        ("Add", ["next", "one"], ["chunk"]),
    ]
    return made, graph_of(made, nodes, {"half": np.float32(0.5), "one": np.float32(1)})


def remembering():
    return Program(
        tensors=(spec("hidden", STATE_DIM), spec("action", 1, STATE_DIM)),
        steps=(
            Call("run", "recurrent", {"state": "state", "hidden": "hidden"}, {"next": "hidden", "chunk": "action"}),
        ),
        action="action",
        states=("hidden",),
    )


def test_a_state_is_fed_back_from_run_to_run_and_zero_after_a_reset(build):
    executor = build(policy(chunk=1, action=(STATE_DIM,)), remembering(), [recurrent()])
    for _ in range(2):
        hidden = np.zeros(STATE_DIM)
        for seed in range(5):
            state = random_state(seed)
            hidden = 0.5 * hidden + state
            np.testing.assert_allclose(executor.run({"state": state})[0], hidden + 1, rtol=1e-5, atol=1e-6)
        executor.reset()


def test_two_states_may_change_places(build):
    made = component("swap", [spec("a", 1, 2), spec("b", 1, 2)], [spec("a2", 1, 2), spec("b2", 1, 2)])
    model = graph_of(made, [("Identity", ["a"], ["b2"]), ("Add", ["b", "one"], ["a2"])], {"one": np.float32(1)})
    program = Program(
        tensors=(spec("a", 2), spec("b", 2), spec("action", 1, 2)),
        steps=(
            Call("swap", "swap", {"a": "a", "b": "b"}, {"a2": "a", "b2": "b"}),
            Slice("take", "a", "flat"),
            Call("again", "swap", {"a": "flat", "b": "flat"}, {"a2": "action.plus", "b2": "action.same"}),
            Normalise("post", "action.same", "action", "id"),
        ),
        action="action",
        states=("a", "b"),
    )
    program = replace(
        program, tensors=(*program.tensors, *(spec(name, 2) for name in ("flat", "action.plus", "action.same")))
    )
    arrays = {"id.offset": np.zeros(2), "id.scale": np.ones(2)}
    executor = build(policy(chunk=1, action=(2,)), program, [(made, model)], arrays)
    a, b = 0, 0
    for _ in range(5):
        a, b = b + 1, a
        assert (executor.run({"state": random_state()}) == a).all()
        assert (executor.values["b"] == b).all()


def test_a_history_of_observations_enters_with_the_oldest_first(build):
    made = component(
        "both", [spec("states", 1, 2, STATE_DIM), spec("frames", 1, 2, 3, 3, 4)], [spec("chunk", 1, 2, STATE_DIM)]
    )
    nodes = [
        helper.make_node("ReduceMean", ["frames", "axes"], ["means"], keepdims=0),
        ("Mul", ["states", "weights"], ["weighed"]),
        ("Add", ["weighed", "means"], ["chunk"]),
    ]
    weights = np.float32([[1], [10]])
    model = graph_of(made, nodes, {"axes": np.array([3, 4]), "weights": weights})
    program = Program(
        tensors=(
            spec("small", 2, 3, 4, 3),
            spec("frames", 2, 3, 3, 4),
            spec("states", 2, STATE_DIM),
            spec("action", 2, STATE_DIM),
        ),
        steps=(
            Resize("resize", "cam", "small"),
            Normalise("norm.cam", "small", "frames", "pre.cam", planes=True),
            Normalise("norm.state", "state", "states", "pre.state"),
            Call("act", "both", {"states": "states", "frames": "frames"}, {"chunk": "action"}),
        ),
        action="action",
    )
    arrays = {
        "pre.cam.offset": np.zeros(3),
        "pre.cam.scale": np.full(3, 255),
        "pre.state.offset": np.ones(STATE_DIM),
        "pre.state.scale": np.full(STATE_DIM, 2),
    }
    observed = policy(the_frame(), the_state(), chunk=2, action=(STATE_DIM,), history=2)
    executor = build(observed, program, [(made, model)], arrays)
    frames, states = random_frame(0, 2), random_state(0, 2)
    # Half the size without antialiasing: the mean of four pixels each.
    means = frames.reshape(2, 3, 2, 4, 2, 3).astype(float).mean(axis=(1, 2, 3, 4)) / 255
    found = executor.run({"cam": frames, "state": states})
    np.testing.assert_allclose(found, (states - 1) / 2 * weights + means, rtol=1e-4, atol=1e-4)
    executor.check("state", states)
    executor.check("state", states[0], one=True)
    with pytest.raises(ShapeError, match=r"float32\[2, 3\] .* got float32\[3\]"):
        executor.check("state", states[0])


def test_ensembling_is_the_mean_of_all_past_predictions_for_this_tick(build):
    made = component("chunker", [spec("state", 1, STATE_DIM)], [spec("chunk", 1, CHUNK, STATE_DIM)])
    weights = np.arange(1, CHUNK + 1, dtype=np.float32)[:, None]
    model = graph_of(
        made,
        [("Mul", ["state", "weights"], ["flat"]), ("Unsqueeze", ["flat", "axis"], ["chunk"])],
        {"weights": weights, "axis": np.array([0])},
    )
    program = Program(
        tensors=(spec("chunk", 1, CHUNK, STATE_DIM), spec("action", 1, STATE_DIM)),
        steps=(
            Call("act", "chunker", {"state": "state"}, {"chunk": "chunk"}),
            Ensemble("mean", "chunk", "action", 0.1),
        ),
        action="action",
    )
    executor = build(policy(chunk=1, action=(STATE_DIM,)), program, [(made, model)])
    for _ in range(2):
        chunks = []
        for tick in range(9):
            state = random_state(tick)
            chunks.append(state * weights)
            known = [chunks[at][tick - at] for at in range(max(0, tick - CHUNK + 1), tick + 1)]
            share = np.exp(-0.1 * np.arange(len(known)))
            expected = np.average(known, axis=0, weights=share)
            np.testing.assert_allclose(executor.run({"state": state})[0], expected, rtol=1e-4, atol=1e-5)
        executor.reset()
