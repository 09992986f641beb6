"""What a graph hands to its next pass is fed back, and nothing else is."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgectl_protos.domain.errors import (
    CheckpointError,
)
from edgectl_testkit.onnx_graphs import graph, gru, linear, value


def test_a_state_is_fed_back(bench):
    card = bench.card(gru())
    assert [feature.name for feature in card.policy.observations] == ["obs"]
    assert any("h_in ← h_out" in note for note in card.notes)


def test_golden_cases_of_a_state_are_one_sequence(bench):
    exported = bench.export(gru())
    assert exported.program.states == ("h_out",)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(bench.path)).graph.initializer}
    hidden = np.zeros((1, 3), np.float32)
    for obs, action in zip(bench.golden["in.obs"], bench.golden["out.action"], strict=True):
        hidden = np.tanh(np.concatenate([obs[None], hidden], 1) @ weights["w"])
        np.testing.assert_allclose(action, hidden @ weights["v"], atol=1e-5)


def test_golden_data_that_is_a_run_of_the_policy_keeps_its_state(bench):
    exported = bench.export(gru())
    found = bench.golden
    before = np.concatenate([np.zeros((1, 1, 3), np.float32), found["out.h_out"][:-1].reshape(-1, 1, 3)])
    bench.bring(in_obs=found["in.obs"], in_h_in=before, out_action=found["out.action"], out_h_out=found["out.h_out"])
    (bench.folder / "out").rename(bench.folder / "first")
    again = bench.export(bench.path.read_bytes())
    assert again.program == exported.program
    assert again.reference == "net.golden.npz"
    assert "in.h_in" not in bench.golden


def test_golden_data_that_gives_the_state_says_it_is_an_input(bench):
    seen = np.random.default_rng(5).normal(size=(3, 1, 3)).astype(np.float32)
    bench.bring(in_obs=np.zeros((3, 4), np.float32), in_h_in=seen, out_action=np.zeros((3, 2), np.float32))
    card = bench.card(gru())
    assert [feature.name for feature in card.policy.observations] == ["obs", "h_in"]
    assert any("--state h_in=h_out" in note for note in card.notes)


def test_no_state_is_fed_back_when_that_is_said(bench):
    card = bench.card(gru(), states={})
    assert [feature.name for feature in card.policy.observations] == ["obs", "h_in"]


def test_an_output_that_is_handed_through_is_no_state(bench):
    model = linear([value("obs", [1, 4]), value("step", [1, 1])], [value("action", [1, 2]), value("step_out", [1, 1])])
    model.graph.node.append(helper.make_node("Identity", ["step"], ["step_out"]))
    assert bench.export(model).program.states == ()


def test_an_action_that_may_be_a_state_is_asked_about(bench):
    nodes = [
        helper.make_node("Add", ["obs", "state"], ["next_state"]),
        helper.make_node("Neg", ["next_state"], ["reward"]),
    ]
    inputs = [value("obs", [1, 2]), value("state", [1, 2])]
    model = graph(nodes, inputs, [value("next_state", [1, 2]), value("reward", [1, 2])])
    with pytest.raises(CheckpointError, match="action, or the state") as caught:
        bench.card(model)
    assert "--state state=next_state" in caught.value.hint
    assert bench.card(model, states={"state": "next_state"}).policy.action.name == "reward"
    assert bench.card(model, states={}).policy.action.name == "next_state"
