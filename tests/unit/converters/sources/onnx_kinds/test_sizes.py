"""Free sizes are asked for, or said by what is at hand."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgectl_protos.domain.errors import (
    CheckpointCorruptError,
    CheckpointError,
    UsageError,
)
from edgectl_testkit.onnx_graphs import camera, graph, linear, value


def test_a_free_size_is_asked_for_with_the_option_to_type(bench):
    with pytest.raises(CheckpointError, match="height, width") as caught:
        bench.card(camera(["batch", 3, "height", "width"]))
    assert "--shape images=1x3x480x640" in caught.value.hint


def test_a_size_that_is_said_is_run(bench):
    exported = bench.export(camera(["batch", 3, "height", "width"]), shapes={"images": (1, 3, 12, 16)})
    assert exported.components[0].inputs[0].shape == (1, 3, 12, 16)
    assert bench.golden["in.images"].shape == (4, 3, 12, 16)
    np.testing.assert_allclose(bench.golden["in.images"].mean((2, 3)).std() > 0, True)


@pytest.mark.parametrize("free", [-1, 0, "", "batch"])
def test_a_free_first_dimension_is_the_batch(bench, free):
    model = linear([value("obs", [7, 4])], [value("action", [7, 2])])
    for port in (model.graph.input[0], model.graph.output[0]):
        dim = port.type.tensor_type.shape.dim[0]
        dim.Clear()
        if isinstance(free, int):
            dim.dim_value = free
        elif free:
            dim.dim_param = free
    assert bench.card(model).policy.observations[0].shape == (4,)


def test_a_vector_of_free_length_is_no_batch(bench):
    model = graph(
        [helper.make_node("Identity", ["x"], ["y"])], [value("x", ["n_samples"])], [value("y", ["n_samples"])]
    )
    with pytest.raises(CheckpointError, match="n_samples"):
        bench.card(model)


def test_golden_data_says_a_size(bench):
    frames = np.random.default_rng(5).normal(size=(2, 3, 5, 6)).astype(np.float32)
    bench.bring(in_images=frames, out_action=np.zeros((2, 2), np.float32))
    assert bench.card(camera(["batch", 3, "height", "width"])).policy.observations[0].shape == (3, 5, 6)


def test_footage_says_a_size(bench):
    (bench.folder / "seen").mkdir()
    np.save(bench.folder / "seen/images.npy", np.zeros((9, 3, 5, 6), np.float32))
    card = bench.card(camera(["batch", 3, "height", "width"]), bench.folder / "seen")
    assert card.policy.observations[0].shape == (3, 5, 6)
    assert card.declared.shapes == {"images": (1, 3, 5, 6)}


@pytest.mark.parametrize(("name", "shape"), [("images", (1, 4, 8, 8)), ("images", (1, 3, 8)), ("frames", (1, 3, 8, 8))])
def test_a_size_that_cannot_be_is_refused(bench, name, shape):
    with pytest.raises(UsageError, match="--shape"):
        bench.card(camera(["batch", 3, "height", "width"]), shapes={name: shape})


def test_a_shape_that_depends_on_the_data_is_the_reason(bench):
    model = graph(
        [helper.make_node("NonZero", ["x"], ["y"])], [value("x", [1, 4])], [value("y", ["a", "b"], TensorProto.INT64)]
    )
    seen = np.float32([[1, 0, 0, 0], [1, 1, 0, 0]])
    with pytest.raises(CheckpointError, match="depends on the data") as caught:
        bench.export(model, {"x": seen})
    assert "padded" in caught.value.hint


def test_another_output_of_such_a_shape_is_not_handed_on(bench):
    model = linear([value("obs", [1, 4])], [value("action", [1, 2])])
    model.graph.node.append(helper.make_node("NonZero", ["obs"], ["where"]))
    model.graph.output.append(value("where", ["a", "b"], TensorProto.INT64))
    exported = bench.export(model, {"obs": np.float32([[1, 0, 0, 0], [1, 1, 0, 0]])})
    assert [spec.name for spec in exported.components[0].outputs] == ["action"]
    assert any("where depends on the data" in note for note in exported.notes)


def test_another_rank_than_declared_is_refused(bench):
    model = graph([helper.make_node("Identity", ["x"], ["y"])], [value("x", [4])], [value("y", [4])])
    model.graph.output[0].CopyFrom(value("y", [2, 2]))
    with pytest.raises((CheckpointError, CheckpointCorruptError), match=r"\[2, 2\]|shape"):
        bench.export(model)
