"""ONNX graphs of the kinds that people bring: each converts and is right, or is refused with its reason and a cure."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgectl_converters.card import Declared, sha256_of
from edgectl_converters.sources.base import ExportRequest
from edgectl_converters.sources.onnx import OnnxSource
from edgectl_converters.sources.onnx_operators import stored_schemes
from edgectl_protos.domain.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointVersionError,
    NonFiniteError,
    OperatorError,
    ShapeError,
    UsageError,
)

RANDOM = np.random.default_rng(5)


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name, *shape, dtype=np.float32):
    return numpy_helper.from_array(RANDOM.normal(0, 0.3, shape).astype(dtype), name)


def graph(nodes, inputs, outputs, constants=(), *, opset=20, ir=10, opsets=()):
    made = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset), *opsets], ir_version=ir)


def linear(inputs, outputs, *, opset=20, ir=10):
    """x @ w + b, from the first input to the first output."""
    nodes = [helper.make_node("Gemm", [inputs[0].name, "w", "b"], [outputs[0].name])]
    return graph(nodes, inputs, outputs, [constant("w", 4, 2), constant("b", 2)], opset=opset, ir=ir)


def camera(shape):
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["p"]),
        helper.make_node("Flatten", ["p"], ["q"]),
        helper.make_node("Gemm", ["q", "w", "b"], ["action"]),
    ]
    constants = [constant("w", 3, 2), constant("b", 2)]
    return graph(nodes, [value("images", shape)], [value("action", [shape[0], 2])], constants)


def gru():
    """An observation and a hidden state to an action and the next hidden state."""
    nodes = [
        helper.make_node("Concat", ["obs", "h_in"], ["both"], axis=1),
        helper.make_node("MatMul", ["both", "w"], ["m"]),
        helper.make_node("Tanh", ["m"], ["h_out"]),
        helper.make_node("MatMul", ["h_out", "v"], ["action"]),
    ]
    inputs, outputs = [value("obs", [1, 4]), value("h_in", [1, 3])], [value("action", [1, 2]), value("h_out", [1, 3])]
    return graph(nodes, inputs, outputs, [constant("w", 7, 3), constant("v", 3, 2)])


def quantised(opset=20):
    """One matrix product, with quantisation on both sides."""
    scalars = {"s": np.float32(0.03), "z": np.uint8(128), "ws": np.float32(0.01), "wz": np.int8(0)}
    weights = numpy_helper.from_array(RANDOM.integers(-127, 127, (4, 2)).astype(np.int8), "wq")
    constants = [weights, *(numpy_helper.from_array(np.array(number), name) for name, number in scalars.items())]
    nodes = [
        helper.make_node("QuantizeLinear", ["obs", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["w"]),
        helper.make_node("MatMul", ["d", "w"], ["action"]),
    ]
    return graph(nodes, [value("obs", [1, 4])], [value("action", [1, 2])], constants, opset=opset)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


class Bench:
    """A graph in a folder, looked at and exported as a conversion does."""

    def __init__(self, folder):
        self.folder = folder
        self.path = folder / "net.onnx"

    def card(self, model, footage=None, **declared):
        self.path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return OnnxSource().declared_card(self.path, sha256_of, Declared(**declared), footage)

    def export(self, model, observations=None, footage=None, **declared):
        card = self.card(model, footage, **declared)
        out = self.folder / "out"
        out.mkdir()
        rng = np.random.default_rng(0)
        raw = observations or {
            feature.name: rng.normal(0, 1, (4, *feature.shape)).astype(feature.dtype.value)
            for feature in card.policy.observations
        }
        np.savez(out / "observations.npz", **raw)
        request = ExportRequest(
            "onnx", str(self.path), str(out), str(out / "observations.npz"), "synthetic", 0, card.declared
        )
        return OnnxSource().export(request, lambda text: None)

    @property
    def golden(self):
        with np.load(self.folder / "out/golden.npz") as file:
            return dict(file)

    def bring(self, **arrays):
        np.savez(self.folder / "net.golden.npz", **{name.replace("_", ".", 1): a for name, a in arrays.items()})


# --- sizes -----------------------------------------------------------------------------------------------------------


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
    frames = RANDOM.normal(size=(2, 3, 5, 6)).astype(np.float32)
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


# --- batch or chunk --------------------------------------------------------------------------------------------------


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


# --- states ----------------------------------------------------------------------------------------------------------


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
    seen = RANDOM.normal(size=(3, 1, 3)).astype(np.float32)
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


# --- what it is already ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [17, 20, 21])
def test_a_quantised_graph_is_int8_already(bench, opset):
    model = quantised(opset)
    assert bench.card(model).schemes == ("int8", "fp32")
    exported = bench.export(model)
    assert exported.components[0].stored == "int8"
    assert bench.golden["out.action"].any()


def test_a_graph_whose_weights_alone_are_quantised_computes_in_fp32(bench):
    model = quantised()
    del model.graph.node[:2]
    model.graph.node[1].input[0] = "obs"
    assert bench.card(model).schemes == ()


@pytest.mark.parametrize("operator", ["MatMulInteger", "QLinearMatMul", "ConvInteger"])
def test_a_graph_of_integer_operators_is_int8_already(operator):
    model = graph([helper.make_node(operator, ["x", "w"], ["y"])], [value("x", [1, 4])], [value("y", [1, 2])])
    assert stored_schemes(model) == ("int8", "fp32")
    model.graph.node.extend(helper.make_node("Gemm", ["y", "v"], [f"z{i}"]) for i in range(2))
    assert stored_schemes(model) == ()


def test_a_graph_of_halves_is_fp16_already(bench):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    half = TensorProto.FLOAT16
    model = graph(
        nodes, [value("x", [1, 4], half)], [value("y", [1, 2], half)], [constant("w", 4, 2, dtype=np.float16)]
    )
    assert bench.card(model).schemes == ("fp16", "fp32")
    assert bench.card(linear([value("x", [1, 4])], [value("y", [1, 2])])).schemes == ()
    without = graph([helper.make_node("Tanh", ["x"], ["y"])], [value("x", [1, 4], half)], [value("y", [1, 4], half)])
    assert bench.card(without).schemes == ("fp16", "fp32")


# --- operators, types, versions --------------------------------------------------------------------------------------


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


# --- golden data -----------------------------------------------------------------------------------------------------


def test_golden_data_that_another_oracle_confirms_says_so(bench):
    bench.export(linear([value("obs", [1, 4])], [value("action", [1, 2])]))
    bench.bring(in_obs=bench.golden["in.obs"], out_action=bench.golden["out.action"])
    (bench.folder / "out").rename(bench.folder / "first")
    exported = bench.export(bench.path.read_bytes())
    assert exported.reference == "net.golden.npz"
    assert any("confirmed by onnxruntime" in note for note in exported.notes)


def test_golden_data_of_another_rank_is_not_reshaped(bench):
    bench.bring(in_obs=np.zeros((3, 2, 2), np.float32), out_action=np.zeros((3, 2), np.float32))
    with pytest.raises(ShapeError, match=r"in\.obs is \[3, 2, 2\]"):
        bench.export(linear([value("obs", [1, 4])], [value("action", [1, 2])]))


@pytest.mark.parametrize(("key", "bad"), [("out_action", np.nan), ("out_action", -np.inf)])
def test_golden_data_that_is_not_finite_is_refused_with_its_place(bench, key, bad):
    arrays = {"in_obs": np.zeros((3, 4), np.float32), "out_action": np.zeros((3, 2), np.float32)}
    arrays[key][2, 1] = bad
    bench.bring(**arrays)
    with pytest.raises(NonFiniteError, match=rf"{key.replace('_', '.')}: 1 values .* case 2"):
        bench.export(linear([value("obs", [1, 4])], [value("action", [1, 2])]))


def test_observations_in_golden_data_need_not_be_finite(bench):
    seen = np.array([[0, -np.inf], [np.nan, 1], [2, np.inf]], np.float32)
    bench.bring(in_mask=seen, out_action=np.isinf(seen))
    flags = value("action", [1, 2], TensorProto.BOOL)
    model = graph([helper.make_node("IsInf", ["mask"], ["action"])], [value("mask", [1, 2])], [flags])
    exported = bench.export(model)
    assert any("confirmed by" in note for note in exported.notes)
    assert np.array_equal(bench.golden["in.mask"], seen, equal_nan=True)


# --- weights beside the graph ----------------------------------------------------------------------------------------


def test_weights_beside_a_graph_stay_beside_it(bench):
    model = linear([value("obs", [1, 4])], [value("action", [1, 2])])
    w = model.graph.initializer[0]
    (bench.folder / "parts").mkdir()
    (bench.folder / "parts/w.bin").write_bytes(w.raw_data)
    w.ClearField("raw_data")
    w.data_location = TensorProto.EXTERNAL
    w.external_data.add(key="location", value="parts/w.bin")
    bench.export(model)
    exported = onnx.load(str(bench.folder / "out/policy.onnx"), load_external_data=False)
    assert exported.graph.initializer[0].external_data[0].value == "parts/w.bin"
    assert (bench.folder / "out/parts/w.bin").read_bytes() == (bench.folder / "parts/w.bin").read_bytes()


def test_weights_that_are_cut_off_are_corrupt(bench):
    model = linear([value("obs", [1, 4])], [value("action", [1, 2])])
    w = model.graph.initializer[0]
    (bench.folder / "w.bin").write_bytes(w.raw_data[:-4])
    w.ClearField("raw_data")
    w.data_location = TensorProto.EXTERNAL
    for key, text in (("location", "w.bin"), ("length", "32")):
        w.external_data.add(key=key, value=text)
    with pytest.raises(CheckpointCorruptError, match="ends at byte 32"):
        bench.card(model)
