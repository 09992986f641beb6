from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgectl_converters.passes.fold_frames import fold_frames
from edgectl_testkit.bundles import CAMERAS, STATE, tiny_arrays, tiny_graph, tiny_policy


@pytest.fixture
def folded():
    model = onnx.load_from_string(tiny_graph())
    names = fold_frames(model, tiny_policy().observations, tiny_arrays())
    onnx.checker.check_model(model, full_check=True)
    return model, names


def test_frames_enter_as_bytes_and_the_state_as_before(folded):
    model, names = folded
    assert names == list(CAMERAS)
    inputs = {value.name: value.type.tensor_type for value in model.graph.input}
    for name in ("top", "wrist"):
        assert inputs[name].elem_type == onnx.TensorProto.UINT8
        assert [dim.dim_value for dim in inputs[name].shape.dim] == [1, 8, 10, 3]
    assert inputs["state"].elem_type == onnx.TensorProto.FLOAT


def test_the_numbers_are_bit_for_bit_those_of_processing_outside(folded):
    model, _ = folded
    rng = np.random.default_rng(0)
    arrays = tiny_arrays()
    state = rng.normal(0, 1, (1, 3)).astype(np.float32)
    bytes_, floats = {"state": state}, {"state": state}
    for camera in CAMERAS:
        name = camera.rsplit(".", 1)[1]
        bytes_[name] = rng.integers(0, 256, (1, 8, 10, 3), dtype=np.uint8)
        scaled = bytes_[name].astype(np.float32) * arrays[f"pre.{camera}.mul"] + arrays[f"pre.{camera}.add"]
        floats[name] = np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
    (inside,) = ReferenceEvaluator(model).run(None, bytes_)
    (outside,) = ReferenceEvaluator(onnx.load_from_string(tiny_graph())).run(None, floats)
    np.testing.assert_array_equal(inside, outside)


def test_a_frame_that_two_nodes_read_is_folded_for_both():
    model = onnx.load_from_string(tiny_graph())
    model.graph.node.append(onnx.helper.make_node("Identity", ["top"], ["unused"]))
    fold_frames(model, tiny_policy().observations, tiny_arrays())
    readers = [node.op_type for node in model.graph.node if "top" in node.input]
    assert readers == ["Transpose"]


def test_frames_without_processing_are_left_alone():
    model = onnx.load_from_string(tiny_graph())
    before = model.SerializeToString()
    state_only = {key: value for key, value in tiny_arrays().items() if STATE in key}
    assert fold_frames(model, tiny_policy().observations, state_only) == []
    assert model.SerializeToString() == before
