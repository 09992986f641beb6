"""Inputs that say a shape or an axis: each is fed what makes the graph give what it declares."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgectl_converters.card import Declared, sha256_of
from edgectl_converters.observations import observe
from edgectl_converters.sources.onnx import OnnxSource
from edgectl_converters.sources.onnx_operands import is_operand, operands_of

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
X = ("x", FLOAT, (2, 3, 4))


def model_of(operator, inputs, *outs, opset=20, **attributes):
    """One node; an input of no name is left out."""
    names = [given[0] if given else "" for given in inputs]
    node = helper.make_node(operator, names, [f"y{at}" for at in range(len(outs))], **attributes)
    return made([node], [given for given in inputs if given], outs, opset=opset)


def made(nodes, inputs, outs, *, opset=20):
    ports = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    kinds = [out[0] if isinstance(out[0], int) and isinstance(out[-1], tuple) else FLOAT for out in outs]
    shapes = [out[-1] if isinstance(out[-1], tuple) else out for out in outs]
    ends = [
        helper.make_tensor_value_info(f"y{at}", kind, shape)
        for at, (kind, shape) in enumerate(zip(kinds, shapes, strict=True))
    ]
    graph = helper.make_graph(nodes, "g", ports, ends)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def run(folder, model):
    """What ONNX Runtime gives on two synthetic observations: the shapes of the outputs."""
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    source = OnnxSource()
    card = source.declared_card(path, sha256_of, Declared())
    raw = observe(card.policy, None, source.spread(path), count=2, seed=3).arrays
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = {port.name: port.shape for port in session.get_inputs()}

    def shapes(case):
        feeds = {name: np.asarray(raw[name][case]).reshape(shape) for name, shape in wanted.items()}
        return [value.shape for value in session.run(None, feeds)]

    return shapes(0), shapes(1), card.notes


@pytest.mark.parametrize(
    ("operator", "inputs", "outs", "attributes"),
    [
        ("Reshape", [X, ("shape", INT, (2,))], [(6, 4)], {}),
        ("Expand", [("x", FLOAT, (3, 1)), ("shape", INT, (3,))], [(2, 3, 5)], {}),
        ("ConstantOfShape", [("shape", INT, (3,))], [(4, 3, 2)], {}),
        ("Tile", [X, ("repeats", INT, (3,))], [(2, 6, 12)], {}),
        ("Slice", [X, *((name, INT, (1,)) for name in ("starts", "ends", "axes", "steps"))], [(2, 3, 2)], {}),
        ("Slice", [X, ("starts", INT, (2,)), ("ends", INT, (2,))], [(1, 2, 4)], {}),
        ("Pad", [X, ("pads", INT, (6,))], [(2, 5, 7)], {"mode": "reflect"}),
        ("Pad", [X, ("pads", INT, (2,)), None, ("axes", INT, (1,))], [(2, 6, 4)], {}),
        ("Squeeze", [("x", FLOAT, (3, 1, 4, 1)), ("axes", INT, (1,))], [(3, 1, 4)], {}),
        ("Squeeze", [("x", FLOAT, (3, 1, 4, 1)), ("axes", INT, (2,))], [(3, 4)], {}),
        ("Unsqueeze", [X, ("axes", INT, (2,))], [(2, 1, 3, 4, 1)], {}),
        ("ReduceSum", [X, ("axes", INT, (1,))], [(2, 1, 4)], {}),
        ("ReduceMax", [X, ("axes", INT, (2,))], [(3,)], {"keepdims": 0}),
        ("Resize", [("x", FLOAT, (1, 1, 4, 6)), None, None, ("sizes", INT, (4,))], [(1, 1, 7, 5)], {}),
        ("Resize", [("x", FLOAT, (1, 1, 3, 7)), None, ("scales", FLOAT, (4,))], [(1, 1, 5, 4)], {"mode": "linear"}),
        ("Resize", [("x", FLOAT, (1, 1, 4, 6)), None, None, ("sizes", INT, (2,))], [(1, 1, 8, 5)], {"axes": [2, 3]}),
        ("TopK", [X, ("k", INT, (1,))], [(2, 2, 4), (INT, (2, 2, 4))], {"axis": 1}),
        ("OneHot", [("i", INT, (3,)), ("depth", INT, ()), ("values", FLOAT, (2,))], [(3, 7)], {}),
        ("Split", [X, ("split", INT, (2,))], [(2, 3, 1), (2, 3, 3)], {"axis": 2}),
        ("Range", [(name, FLOAT, ()) for name in ("start", "limit", "delta")], [(5,)], {}),
        ("HannWindow", [("size", INT, ())], [(10,)], {}),
        (
            "STFT",
            [("signal", FLOAT, (1, 128, 1)), ("step", INT, ()), None, ("length", INT, ())],
            [(1, 15, 9, 2)],
            {},
        ),
        ("CenterCropPad", [X, ("shape", INT, (2,))], [(2, 5, 3)], {"axes": [1, 2]}),
        ("AffineGrid", [("theta", FLOAT, (2, 2, 3)), ("size", INT, (4,))], [(2, 5, 6, 2)], {}),
        (
            "Col2Im",
            [("x", FLOAT, (1, 5, 15)), ("image", INT, (2,)), ("block", INT, (2,))],
            [(1, 1, 5, 5)],
            {"pads": [0, 1, 0, 1]},
        ),
        ("Compress", [X, ("condition", BOOL, (3,))], [(2, 2, 4)], {"axis": 1}),
        ("CumSum", [X, ("axis", INT, ())], [(2, 3, 4)], {}),
        ("Trilu", [X, ("k", INT, ())], [(2, 3, 4)], {}),
        ("Dropout", [X, ("ratio", FLOAT, ()), ("training_mode", BOOL, ())], [(2, 3, 4)], {}),
        ("Div", [("a", TensorProto.INT32, (3,)), ("b", TensorProto.INT32, (3,))], [(TensorProto.INT32, (3,))], {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_operand_gives_what_the_graph_declares(tmp_path, operator, inputs, outs, attributes):
    one, other, notes = run(tmp_path, model_of(operator, inputs, *outs, **attributes))
    assert one == other == [out[-1] if isinstance(out[-1], tuple) else out for out in outs]
    assert any("drawn as an operand, the same in every case" in note for note in notes)


def test_axes_in_the_middle_of_a_graph_are_found_by_what_comes_out(tmp_path):
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["sum"]), helper.make_node("Exp", ["sum"], ["y0"])]
    one, other, _ = run(tmp_path, made(nodes, [X, ("axes", INT, (1,))], [(2, 3, 1)]))
    assert one == other == [(2, 3, 1)]


def test_an_operand_that_is_cast_is_one():
    nodes = [helper.make_node("Cast", ["s"], ["c"], to=INT), helper.make_node("Reshape", ["x", "c"], ["y0"])]
    model = made(nodes, [X, ("s", TensorProto.INT32, (2,))], [(3, 8)])
    assert operands_of(model) == {"s": ((3, 8), (0.0, 0.0))}


def test_a_vector_of_no_elements_is_no_open_size(tmp_path):
    model = model_of("ReduceSum", [X, ("axes", INT, (0,))], (1, 1, 1))
    assert is_operand(model, "axes")
    assert not is_operand(model, "x")
    one, other, _ = run(tmp_path, model)
    assert one == other == [(1, 1, 1)]


@pytest.mark.parametrize("operator", ["Atanh", "Asin", "Acos", "Acosh", "Log", "Sqrt"])
def test_what_a_function_does_not_take_is_not_drawn(tmp_path, operator):
    path = tmp_path / "net.onnx"
    model = model_of(operator, [("x", FLOAT, (1, 1000))], (1, 1000))
    path.write_bytes(model.SerializeToString())
    source = OnnxSource()
    card = source.card(path, sha256_of)
    raw = observe(card.policy, None, source.spread(path), count=8, seed=3).arrays["x"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert all(np.isfinite(session.run(None, {"x": one[None]})[0]).all() for one in raw)
    assert any("drawn where the graph computes it: x" in note for note in card.notes)


def test_observations_are_no_operands(tmp_path):
    assert operands_of(model_of("Add", [X, ("b", FLOAT, (4,))], (2, 3, 4))) == {}
    assert operands_of(model_of("Gather", [X, ("i", INT, (2,))], (2, 3, 4))) == {}
    assert operands_of(model_of("Div", [X, ("b", FLOAT, (4,))], (2, 3, 4))) == {}
