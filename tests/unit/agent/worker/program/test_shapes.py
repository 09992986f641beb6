"""Policies of other shapes: what goes in, and what may come out."""

import numpy as np
import pytest
from onnx import helper

from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import ProgramError, ShapeError
from edgectl_protos.domain.policy import Feature, FeatureKind
from edgectl_protos.domain.program import Call, Normalise, Program, Slice
from edgectl_protos.domain.program_flow import waits_for
from edgectl_testkit.programs import component, graph_of, spec
from edgectl_testkit.small_policies import (
    HEIGHT,
    STATE_DIM,
    WIDTH,
    policy,
    random_frame,
    random_state,
    the_frame,
    the_state,
)


def vision():
    made = component("vision", [spec("image", 1, 3, HEIGHT, WIDTH)], [spec("tokens", 1, 1, 3)])
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0),
        ("Reshape", ["mean", "shape"], ["tokens"]),
    ]
    return made, graph_of(made, nodes, {"axes": np.array([2, 3]), "shape": np.array([1, 1, 3])})


def double():
    made = component("double", [spec("in", 1, STATE_DIM)], [spec("out", 1, STATE_DIM)])
    return made, graph_of(made, [("Add", ["in", "in"], ["out"])])


def test_a_policy_of_state_only(build):
    program = Program(
        (spec("action", 1, STATE_DIM),), (Call("c", "double", {"in": "state"}, {"out": "action"}),), "action"
    )
    executor = build(policy(chunk=1, action=(STATE_DIM,)), program, [double()])
    np.testing.assert_array_equal(executor.run({"state": random_state()})[0], 2 * random_state())


def test_a_policy_of_images_only(build):
    program = Program(
        (spec("planes", 3, HEIGHT, WIDTH), spec("tokens", 1, 3)),
        (
            Normalise("norm", "cam", "planes", "pre", planes=True),
            Call("see", "vision", {"image": "planes"}, {"tokens": "tokens"}),
        ),
        "tokens",
    )
    arrays = {"pre.offset": np.zeros(3), "pre.scale": np.full(3, 255)}
    executor = build(policy(the_frame(), chunk=1, action=(3,)), program, [vision()], arrays)
    found = executor.run({"cam": random_frame()})
    np.testing.assert_allclose(found[0], random_frame().mean(axis=(0, 1)) / 255, rtol=1e-4)


def test_two_branches_that_do_not_wait_for_each_other(build):
    observed = policy(the_state(), the_state("other"), chunk=1, action=(STATE_DIM,))
    join = component("join", [spec("a", 1, STATE_DIM), spec("b", 1, STATE_DIM)], [spec("out", 1, STATE_DIM)])
    program = Program(
        (spec("left", STATE_DIM), spec("right", STATE_DIM), spec("action", 1, STATE_DIM)),
        (
            Call("left", "double", {"in": "state"}, {"out": "left"}),
            Call("right", "double", {"in": "other"}, {"out": "right"}),
            Call("join", "join", {"a": "left", "b": "right"}, {"out": "action"}),
        ),
        "action",
    )
    assert waits_for(program) == {"left": (), "right": (), "join": ("left", "right")}
    executor = build(observed, program, [double(), (join, graph_of(join, [("Sub", ["a", "b"], ["out"])]))])
    state, other = random_state(0), random_state(1)
    found = executor.run({"state": state, "other": other})
    np.testing.assert_allclose(found[0], 2 * state - 2 * other, rtol=1e-5, atol=1e-6)


def test_a_part_of_a_tensor_is_taken_out(build):
    made = component("wide", [spec("state", 1, STATE_DIM)], [spec("out", 1, 5, STATE_DIM)])
    rows = np.arange(5, dtype=np.float32)[None, :, None]
    program = Program(
        (spec("wide", 1, 5, STATE_DIM), spec("action", 2, 2)),
        (Call("c", "wide", {"state": "state"}, {"out": "wide"}), Slice("cut", "wide", "action", (1, 1))),
        "action",
    )
    model = graph_of(made, [("Add", ["state", "rows"], ["out"])], {"rows": rows})
    executor = build(policy(chunk=2, action=(2,)), program, [(made, model)])
    for seed in (0, 1):
        state = random_state(seed)
        found = executor.run({"state": state})
        np.testing.assert_allclose(found, (state + np.arange(5)[:, None])[1:3, 1:3], rtol=1e-5, atol=1e-6)


def test_a_program_whose_action_has_another_shape_than_the_policy_says_is_refused(build):
    program = Program(
        (spec("action", 1, STATE_DIM),), (Call("c", "double", {"in": "state"}, {"out": "action"}),), "action"
    )
    with pytest.raises(ProgramError, match=r"the program's action is \[1, 3\]; the policy says 1 actions of \[4\]"):
        build(policy(chunk=1, action=(4,)), program, [double()])


def bare(build, shape):
    """A graph of which nothing is known but that it passes its input on."""
    made = component("bare", [spec("x", *[-1] * len(shape))], [spec("y", *[-1] * len(shape))])
    program = Program((spec("y", *[-1] * len(shape)),), (Call("c", "bare", {"x": "x"}, {"y": "y"}),), "y")
    observed = policy(Feature("x", FeatureKind.TENSOR, DType.FLOAT32, (-1,) * len(shape)), chunk=1, action=(-1, 2))
    return build(observed, program, [(made, graph_of(made, [("Identity", ["x"], ["y"])]))])


@pytest.mark.parametrize("shape", [(1, 5, 2), (5, 2)])
def test_a_bare_graph_may_have_free_dimensions_and_no_batch(build, shape):
    assert bare(build, shape).run({"x": np.ones(shape, np.float32)}).shape == (1, 5, 2)


@pytest.mark.parametrize("shape", [(1, 5, 3), (5, 3), (2, 5, 2), (2,)])
def test_an_action_of_another_shape_is_refused_when_it_comes(build, shape):
    with pytest.raises(ShapeError, match=r"the action is \[.*the policy says \[1, -1, 2\]"):
        bare(build, shape).run({"x": np.ones(shape, np.float32)})
