"""Types written into graphs, computed by the onnx package's own evaluator and by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from edgectl_converters.targets.onnx_types import check_pairs, check_ports, halve, heavy_nodes, name_nodes, read_fixed
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import BundleCorruptError, OperatorError, RouteError

X = TensorSpec("x", DType.FLOAT32, (1, 4, 8))


def tensor(name: str, *shape: int, seed: int = 0) -> onnx.TensorProto:
    values = np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)
    return onnx.numpy_helper.from_array(values, name)


def block(**changes: str) -> Any:
    """A norm by hand, an attention with a mask, a residual: what a transformer is made of."""
    mask = np.zeros((4, 4), np.float32)
    mask[0, 1:] = -3.4e38
    constants = [tensor("wq", 8, 8), tensor("wk", 8, 8, seed=1), tensor("wv", 8, 8, seed=2), tensor("g", 8, seed=3)]
    constants += [onnx.numpy_helper.from_array(mask, "mask"), onnx.numpy_helper.from_array(np.float32(2.0), "two")]
    constants += [onnx.numpy_helper.from_array(np.float32(1e-6), "eps")]
    axes = onnx.numpy_helper.from_array(np.array([-1]), "axes")
    nodes = [
        helper.make_node("Pow", ["x", "two"], ["square"]),
        helper.make_node("ReduceMean", ["square", "axes"], ["mean"]),
        helper.make_node("Add", ["mean", "eps"], ["safe"]),
        helper.make_node("Sqrt", ["safe"], ["root"]),
        helper.make_node("Div", ["x", "root"], ["unit"]),
        helper.make_node("Mul", ["unit", "g"], ["normed"]),
        helper.make_node("MatMul", ["normed", "wq"], ["q"]),
        helper.make_node("MatMul", ["normed", "wk"], ["k"]),
        helper.make_node("MatMul", ["normed", "wv"], ["v"]),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"]),
        helper.make_node("Add", ["scores", "mask"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "v"], ["o"]),
        helper.make_node("Add", ["o", "x"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4, 8]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "block", ports[:1], ports[1:], [*constants, axes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def saved(model: Any, tmp_path: Path) -> Path:
    onnx.save(model, str(tmp_path / "graph.onnx"))
    return tmp_path / "graph.onnx"


def kinds(model: Any) -> dict[str, int]:
    """The type of each tensor, by inference."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    ports = (*inferred.value_info, *inferred.input, *inferred.output)
    return {port.name: port.type.tensor_type.elem_type for port in ports}


@pytest.mark.parametrize(("half", "error"), [("FLOAT16", 2e-3), ("BFLOAT16", 2e-2)])
def test_products_are_halved_and_norms_and_softmax_are_not(tmp_path: Path, half: str, error: float) -> None:
    model = read_fixed(saved(block(), tmp_path), [X])
    assert halve(model, half) == len(heavy_nodes(model)) == 5
    found, kind = kinds(model), getattr(TensorProto, half)
    for name in ("q", "k", "v", "kt", "scores", "masked", "o"):
        assert found[name] == kind, name
    for name in ("x", "square", "mean", "safe", "root", "unit", "normed", "p", "y"):
        assert found[name] == TensorProto.FLOAT, name
    x = np.random.default_rng(7).normal(0, 1, X.shape).astype(np.float32)
    exact = ReferenceEvaluator(block()).run(None, {"x": x})[0]
    here = ReferenceEvaluator(model).run(None, {"x": x})[0]
    assert here.dtype == np.float32
    assert 0 < np.abs(here - exact).max() < error * np.abs(exact).max()


def test_a_mask_beyond_the_range_of_half_stays_finite(tmp_path: Path) -> None:
    model = read_fixed(saved(block(), tmp_path), [X])
    halve(model, "FLOAT16")
    mask = next(t for t in model.graph.initializer if t.name == "mask.half")
    assert np.isfinite(onnx.numpy_helper.to_array(mask)).all()
    assert onnx.numpy_helper.to_array(mask).min() == -65504


def test_weights_are_not_kept_twice_and_constants_are_weights(tmp_path: Path) -> None:
    model = block()
    mask = next(t for t in model.graph.initializer if t.name == "mask")
    model.graph.initializer.remove(mask)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["mask"], value=mask))
    model = read_fixed(saved(model, tmp_path), [X])
    halve(model, "FLOAT16")
    names = {t.name for t in model.graph.initializer}
    assert {"wq.half", "mask.half"} <= names
    assert not {"wq", "mask"} & names
    assert not [node for node in model.graph.node if node.op_type == "Constant"]


def test_two_halvings_give_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for _ in range(2):
        model = read_fixed(saved(block(), tmp_path), [X])
        halve(model, "FLOAT16")
        name_nodes(model)
        made.append(model.SerializeToString(deterministic=True))
    assert made[0] == made[1]


def test_shapes_are_those_of_the_manifest(tmp_path: Path) -> None:
    model = read_fixed(saved(block(), tmp_path), [X])
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [1, 4, 8]


def frames_graph() -> Any:
    """Frames as a camera gives them: bytes, moved, then cast, then convolved."""
    nodes = [
        helper.make_node("Transpose", ["top"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["floats", "w"], ["y"]),
    ]
    top = helper.make_tensor_value_info("top", TensorProto.UINT8, [1, 6, 6, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 4, 4])
    graph = helper.make_graph(nodes, "frames", [top], [y], [tensor("w", 2, 3, 3, 3)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_bytes_are_cast_before_they_are_moved_and_only_once(tmp_path: Path) -> None:
    spec = TensorSpec("top", DType.UINT8, (1, 6, 6, 3))
    model = read_fixed(saved(frames_graph(), tmp_path), [spec])
    assert [node.op_type for node in model.graph.node] == ["Cast", "Transpose", "Cast", "Conv"]
    frame = np.random.default_rng(0).integers(0, 256, (1, 6, 6, 3), np.uint8)
    expected = ReferenceEvaluator(frames_graph()).run(None, {"top": frame})[0]
    np.testing.assert_array_equal(ReferenceEvaluator(model).run(None, {"top": frame})[0], expected)
    again = read_fixed(saved(model, tmp_path), [spec])
    assert [node.op_type for node in again.graph.node] == ["Cast", "Transpose", "Cast", "Conv"]


def test_arithmetic_on_bytes_is_left_as_it_is(tmp_path: Path) -> None:
    model = frames_graph()
    model.graph.node.insert(1, helper.make_node("Add", ["planes", "planes"], ["twice"]))
    model.graph.node[2].input[0] = "twice"
    found = read_fixed(saved(model, tmp_path), [TensorSpec("top", DType.UINT8, (1, 6, 6, 3))])
    # Wrapped around at 256 it is: float32 would not.
    assert found.graph.node[0].op_type == "Transpose"


def test_control_flow_is_refused_in_a_half_type_only(tmp_path: Path) -> None:
    model = block()
    inner = helper.make_graph([], "inner", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])])
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner))
    with pytest.raises(OperatorError, match="If has a graph of its own"):
        halve(model, "FLOAT16")


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("x", DType.FLOAT64, (1, 2)),
        TensorSpec("x", DType.UINT16, (1,)),
        TensorSpec("x", DType.FLOAT32, (-1,)),
    ],
)
def test_ports_that_no_engine_has_are_refused(spec: TensorSpec) -> None:
    with pytest.raises(RouteError, match="takes fixed shapes of bool, float16, .*'x' is"):
        check_ports("stub", [spec])


def test_bytes_that_are_no_graph_are_refused(tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"\x08\x0a" + b"\xff" * 40)
    with pytest.raises(BundleCorruptError, match="no ONNX graph"):
        read_fixed(tmp_path / "graph.onnx", [X])


@pytest.mark.parametrize(
    ("point", "said"),
    [
        (np.uint8(128), "is uint8"),
        (np.uint8(0), "is uint8"),
        (np.uint16(0), "is uint16"),
        (np.int8(3), "is int8"),
        (np.int8(0), ""),
    ],
)
def test_pairs_that_engines_do_not_take_are_refused(point: Any, said: str) -> None:
    weights = [
        onnx.numpy_helper.from_array(np.array(value), name) for name, value in (("s", np.float32(0.1)), ("z", point))
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "pair", ports[:1], ports[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    if said:
        with pytest.raises(OperatorError, match=f"takes int8 without zero points; QuantizeLinear of 'x' {said}"):
            check_pairs("stub", model)
    else:
        check_pairs("stub", model)
