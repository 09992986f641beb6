"""Operators, types and versions: each is taken and right, or refused with its reason and a cure."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgectl_protos.domain.errors import (
    CheckpointError,
    CheckpointVersionError,
    OperatorError,
)
from edgectl_testkit.onnx_graphs import graph, linear, value


@pytest.mark.parametrize("operator", ["RandomNormalLike", "RandomUniformLike", "Bernoulli"])
def test_noise_inside_a_graph_is_refused_with_its_operator(bench, operator):
    nodes = [helper.make_node(operator, ["x"], ["e"], name="draw"), helper.make_node("Add", ["x", "e"], ["y"])]
    with pytest.raises(OperatorError, match=f"{operator}.*draw") as caught:
        bench.card(graph(nodes, [value("x", [1, 2])], [value("y", [1, 2])]))
    assert "as an input" in caught.value.hint


def test_a_tree_of_the_ml_domain_is_taken(bench):
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["action"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0, 0, 0],
        nodes_values=[0.0, 0.0, 0.0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0],
        target_nodeids=[1, 2],
        target_ids=[0, 0],
        target_weights=[1.5, -2.0],
    )
    model = graph(
        [node], [value("x", [1, 4])], [value("action", [1, 1])], opsets=[helper.make_opsetid("ai.onnx.ml", 3)]
    )
    bench.export(model, {"x": np.float32([[-1, 0, 0, 0], [1, 0, 0, 0]])})
    np.testing.assert_array_equal(bench.golden["out.action"].ravel(), [1.5, -2.0])


def test_depth_of_16_bits_is_fed(bench):
    nodes = [helper.make_node("Cast", ["depth"], ["y"], to=TensorProto.FLOAT)]
    model = graph(nodes, [value("depth", [1, 2, 3], TensorProto.UINT16)], [value("y", [1, 2, 3])])
    bench.export(model, {"depth": np.full((2, 2, 3), 60_000, np.uint16)})
    assert (bench.golden["out.y"] == 60_000).all()


@pytest.mark.parametrize(("kind", "name"), [(TensorProto.STRING, "string"), (TensorProto.BFLOAT16, "bfloat16")])
def test_a_type_that_is_not_fed_is_named(bench, kind, name):
    model = linear([value("obs", [1, 4]), value("task", [1], kind)], [value("action", [1, 2])])
    with pytest.raises(CheckpointError, match=f"'task' is of the type {name}"):
        bench.card(model)


def test_an_output_that_is_no_tensor_is_not_handed_on(bench):
    model = linear([value("obs", [1, 4])], [value("action", [1, 2])])
    model.graph.node.append(helper.make_node("SequenceConstruct", ["action"], ["all"]))
    model.graph.output.append(helper.make_tensor_sequence_value_info("all", TensorProto.FLOAT, None))
    exported = bench.export(model)
    assert [spec.name for spec in exported.components[0].outputs] == ["action"]
    assert any("all (sequence)" in note for note in exported.notes)


def test_a_scalar_and_a_flag_are_fed(bench):
    nodes = [
        helper.make_node("Cast", ["t"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Where", ["flag", "x", "f"], ["y"]),
    ]
    inputs = [value("x", [1, 2]), value("t", [], TensorProto.INT64), value("flag", [], TensorProto.BOOL)]
    seen = {"x": np.float32([[1, 2], [3, 4]]), "t": np.int64([5, 6]), "flag": np.array([True, False])}
    exported = bench.export(graph(nodes, inputs, [value("y", [1, 2])]), seen)
    assert exported.reference.startswith("onnxruntime")
    np.testing.assert_array_equal(bench.golden["out.y"].reshape(2, 2), [[1, 2], [6, 6]])


@pytest.mark.parametrize("newer", ["ir", "opset"])
def test_a_newer_graph_has_a_reason_of_its_own(bench, newer):
    model = linear([value("obs", [1, 4])], [value("action", [1, 2])])
    if newer == "ir":
        model.ir_version = 99
    else:
        model.opset_import[0].version = 99
    with pytest.raises(CheckpointVersionError, match="99") as caught:
        bench.card(model)
    assert onnx.__version__ in caught.value.hint


def test_an_old_graph_that_does_not_list_its_constants_is_taken(bench):
    assert bench.export(linear([value("obs", [1, 4])], [value("action", [1, 2])], opset=7, ir=3)).cases == 4
