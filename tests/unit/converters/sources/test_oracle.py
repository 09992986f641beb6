from __future__ import annotations

import sys
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgectl_converters.sources import oracle
from edgectl_converters.sources.oracle import difference, disagreement, evaluate
from edgectl_protos.domain.errors import CheckpointError, OperatorError


def saved(folder, nodes, *, opsets=()):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ("x", "y")]
    made = helper.make_graph(nodes, "g", values[:1], values[1:])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20), *opsets], ir_version=10)
    onnx.save(model, str(folder / "net.onnx"))
    return folder / "net.onnx"


@pytest.fixture
def without_runtime(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)


CASES = [{"x": np.float32([[-1, 2, 3]])}, {"x": np.float32([[4, -5, 6]])}]


def test_the_runtime_is_confirmed_by_the_evaluator(tmp_path):
    found = evaluate(saved(tmp_path, [helper.make_node("Relu", ["x"], ["y"])]), CASES, ("y",), {})
    assert found.reference.startswith("onnxruntime")
    assert "ReferenceEvaluator" in found.notes[0]
    np.testing.assert_array_equal(found.outputs["y"], [[[0, 2, 3]], [[4, 0, 6]]])


def test_the_evaluator_stands_in_where_the_runtime_is_not_installed(tmp_path, without_runtime):
    found = evaluate(saved(tmp_path, [helper.make_node("Relu", ["x"], ["y"])]), CASES, ("y",), {})
    assert "ReferenceEvaluator" in found.reference
    assert "not installed" in found.notes[0]
    np.testing.assert_array_equal(found.outputs["y"], [[[0, 2, 3]], [[4, 0, 6]]])


def test_oracles_that_disagree_are_both_named(tmp_path, monkeypatch):
    graph = saved(tmp_path, [helper.make_node("Relu", ["x"], ["y"])])
    run = oracle._Evaluator.run
    monkeypatch.setattr(oracle._Evaluator, "run", lambda self, feeds: [value + 1 for value in run(self, feeds)])
    found = evaluate(graph, CASES, ("y",), {})
    assert "ReferenceEvaluator differs: y by 3.3e-01 of its range" in found.reference
    assert "disagree" in found.notes[0]


def test_a_graph_that_nothing_computes_says_why_each_does_not(tmp_path):
    nodes = [helper.make_node("Fancy", ["x"], ["y"], domain="our.lab")]
    with pytest.raises(OperatorError, match="onnxruntime: .*Fancy.*; the reference evaluator: ") as caught:
        evaluate(saved(tmp_path, nodes, opsets=[helper.make_opsetid("our.lab", 1)]), CASES, ("y",), {})
    assert "net.golden.npz" in caught.value.hint


def test_the_evaluator_s_time_is_bounded(tmp_path, without_runtime, monkeypatch):
    graph = saved(tmp_path, [helper.make_node("Relu", ["x"], ["y"])])
    run = oracle._Evaluator.run

    def slow(self, feeds):
        if feeds["x"][0, 0] > 0:
            while True:
                time.monotonic()
        return run(self, feeds)

    monkeypatch.setattr(oracle._Evaluator, "run", slow)
    found = evaluate(graph, CASES, ("y",), {}, alone_s=0.3)
    assert found.cases == 1
    assert "1 of 2 golden cases" in found.notes[1]
    with pytest.raises(CheckpointError, match="more than 0 s"):
        evaluate(graph, CASES[1:], ("y",), {}, alone_s=0.3)


def test_states_go_from_case_to_case(tmp_path):
    graph = saved(tmp_path, [helper.make_node("Add", ["x", "x"], ["y"])])
    found = evaluate(graph, [CASES[0]] * 3, ("y",), {"x": "y"})
    np.testing.assert_array_equal(found.outputs["y"][:, 0, 1], [4, 8, 16])


def test_differences_are_of_the_range_or_a_share_of_unequals():
    assert difference(np.float32([0, 1, 2.5]), np.float32([0, 1, 2])) == 0.25
    assert difference(np.int64([1, 2, 3, 4]), np.int64([1, 2, 3, 5])) == 0.25
    assert disagreement({"a": np.zeros(2)}, {"a": np.zeros((2, 1))}) == "a is [2] and [2, 1]"
