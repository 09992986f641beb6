"""A first dimension is a batch, a chunk, or neither."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgectl_protos.domain.errors import (
    CheckpointError,
)
from edgectl_testkit.onnx_graphs import constant, graph, linear, value


def test_a_batch_is_run_as_one(bench):
    exported = bench.export(linear([value("obs", [10, 4])], [value("action", [10, 2])]))
    assert exported.policy.observations[0].shape == (4,)
    assert (exported.policy.chunk_size, exported.policy.action.shape) == (1, (2,))
    assert any("batch of 10" in note and "--shape obs=10x4" in note for note in exported.notes)


def test_what_looks_like_a_batch_is_taken_as_it_is_when_that_is_said(bench):
    exported = bench.export(linear([value("obs", [10, 4])], [value("action", [10, 2])]), shapes={"obs": (10, 4)})
    assert exported.policy.observations[0].shape == (10, 4)


def test_rows_that_see_each_other_are_no_batch(bench):
    model = graph([helper.make_node("Softmax", ["x"], ["y"], axis=0)], [value("x", [3, 4])], [value("y", [3, 4])])
    with pytest.raises(CheckpointError, match="no cases of their own") as caught:
        bench.export(model)
    assert "--shape x=3x4" in caught.value.hint


def test_a_batch_that_is_written_into_the_graph_is_one_case(bench):
    shape = numpy_helper.from_array(np.array([10, 2], np.int64), "shape")
    nodes = [helper.make_node("MatMul", ["obs", "w"], ["m"]), helper.make_node("Reshape", ["m", "shape"], ["action"])]
    model = graph(nodes, [value("obs", [10, 4])], [value("action", [10, 2])], [constant("w", 4, 2), shape])
    card = bench.card(model)
    assert any("taken as one case of 10" in note and "export it again" in note for note in card.notes)
    assert bench.export(model).policy.observations[0].shape == (10, 4)


@pytest.mark.parametrize("opset", [1, 12, 13, 20])
def test_one_action_of_flags_becomes_a_chunk_of_one(bench, opset):
    flags = TensorProto.BOOL
    model = graph(
        [helper.make_node("Not", ["x"], ["y"])], [value("x", [3, 4], flags)], [value("y", [3, 4], flags)], opset=opset
    )
    policy = bench.export(model, shapes={"x": (3, 4)}).policy
    assert (policy.chunk_size, policy.action.shape) == (1, (3, 4))
    assert bench.golden["out.y"].shape[1:] == (1, 3, 4)


def test_a_graph_that_imports_no_standard_operators_gets_what_a_chunk_needs(bench):
    node = helper.make_node("Binarizer", ["x"], ["y"], domain="ai.onnx.ml")
    made = helper.make_graph([node], "g", [value("x", [4])], [value("y", [4])])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("ai.onnx.ml", 1)], ir_version=10)
    assert bench.export(model).policy.action.shape == (4,)


def test_an_action_of_no_values_is_refused(bench):
    model = graph([helper.make_node("Neg", ["x"], ["y"])], [value("x", [0, 5])], [value("y", [0, 5])])
    with pytest.raises(CheckpointError, match="an action of no values"):
        bench.export(model, shapes={"x": (0, 5)})


def test_a_chunk_stays_a_chunk(bench):
    model = graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", [1, 5, 4])],
        [value("y", [1, 5, 2])],
        [constant("w", 4, 2)],
    )
    policy = bench.card(model).policy
    assert (policy.chunk_size, policy.action.shape) == (5, (2,))
