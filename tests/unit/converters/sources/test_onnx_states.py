from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from edgectl_converters.sources.onnx_states import declared_states, find_states
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import CheckpointError, UsageError


def specs(*names, shape=(1, 3)):
    return tuple(TensorSpec(name, DType.FLOAT32, shape) for name in names)


def mixing(inputs, outputs):
    """Every output is computed from every input."""
    nodes = [helper.make_node("Sum", list(inputs), ["all"])]
    nodes += [helper.make_node("Neg", ["all"], [name]) for name in outputs]
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in (*inputs, *outputs)}
    return helper.make_graph(nodes, "g", [values[n] for n in inputs], [values[n] for n in outputs])


def found(inputs, outputs):
    return find_states(mixing(inputs, outputs), specs(*inputs), specs(*outputs), "net.onnx")


@pytest.mark.parametrize(
    ("into", "out"),
    [
        ("h_in", "h_out"),
        ("hx", "hn"),
        ("h0", "hn"),
        ("h", "hn"),
        ("state", "stateN"),
        ("state", "next_state"),
        ("prev_state", "state"),
        ("past_key_values.0.key", "present.0.key"),
        ("past_0", "present_0"),
        ("cached_len_0", "new_cached_len_0"),
        ("X", "X_out"),
        ("/actor/lstm/hidden_in:0", "/actor/lstm/hidden_out:0"),
    ],
)
def test_names_of_one_state_are_paired(into, out):
    assert found(("obs", into), ("action", out)) == {into: out}


@pytest.mark.parametrize(
    ("into", "out"),
    [("goal", "reward"), ("input", "output"), ("joint_pos", "joint_vel"), ("obs", "next_obs"), ("h_in", "c_out")],
)
def test_other_names_are_not(into, out):
    assert found(("cmd", into), ("action", out)) == {}


def test_a_pair_of_other_shapes_is_none():
    graph = mixing(("obs", "h_in"), ("action", "h_out"))
    outputs = (*specs("action"), *specs("h_out", shape=(1, 4)))
    assert find_states(graph, specs("obs", "h_in"), outputs, "net.onnx") == {}


def test_two_outputs_for_one_input_are_asked_about():
    with pytest.raises(CheckpointError, match="fed back to 'state'") as caught:
        found(("obs", "state"), ("action", "next_state", "state_out"))
    assert "--state state=next_state" in caught.value.hint


def test_a_model_of_the_world_has_no_state():
    assert found(("state", "command"), ("next_state",)) == {}
    assert found(("state",), ("next_state", "value")) == {}


@pytest.mark.parametrize("states", [{"h": "h_out"}, {"h_in": "x"}, {"h_in": "big"}, {"h_in": "h", "obs": "h"}])
def test_a_declaration_that_does_not_fit_is_refused(states):
    outputs = (*specs("action", "h"), *specs("big", shape=(9,)))
    with pytest.raises(UsageError, match="--state"):
        declared_states(states, specs("obs", "h_in", "more"), outputs)
