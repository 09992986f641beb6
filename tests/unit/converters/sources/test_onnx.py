from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgectl_converters.card import sha256_of
from edgectl_converters.sources.base import ExportRequest
from edgectl_converters.sources.onnx import OnnxSource
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import (
    CheckpointCorruptError,
    CheckpointError,
    EdgectlError,
    NonFiniteError,
    OperatorError,
)
from edgectl_testkit.bundles import tiny_graph


def graph(nodes, inputs, outputs, *, constants=(), opset=20):
    made = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def save(folder, model, name="net.onnx"):
    path = folder / name
    onnx.save(model, str(path))
    return path


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(tiny_graph())
    return path


def card_of(path):
    return OnnxSource().card(path, sha256_of)


def export(path, out, observations=None):
    """Run the export as a conversion does."""
    card = card_of(path)
    out.mkdir()
    rng = np.random.default_rng(0)
    raw = observations or {
        feature.name: rng.normal(0, 1, (2, *feature.shape)).astype(feature.dtype.value)
        for feature in card.policy.observations
    }
    np.savez(out / "observations.npz", **raw)
    request = ExportRequest("onnx", str(path), str(out), str(out / "observations.npz"), "synthetic", 0)
    return OnnxSource().export(request, lambda text: None)


def test_inputs_and_chunk_are_read_from_the_graph(tiny):
    card = card_of(tiny)
    assert [(f.name, f.shape, f.dtype) for f in card.policy.observations] == [
        ("top", (3, 8, 10), DType.FLOAT32),
        ("wrist", (3, 8, 10), DType.FLOAT32),
        ("state", (3,), DType.FLOAT32),
    ]
    assert (card.policy.chunk_size, card.policy.action.shape) == (4, (2,))
    assert card.toolchain == "host"
    assert card.name == "net"


def test_constants_listed_as_inputs_are_no_observations(tmp_path):
    constant = onnx.numpy_helper.from_array(np.ones((1, 2), np.float32), "w")
    model = graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        [value("x", [1, 2]), value("w", [1, 2])],
        [value("y", [1, 2])],
        constants=[constant],
    )
    assert [f.name for f in card_of(save(tmp_path, model)).policy.observations] == ["x"]


def test_free_dimensions_become_one(tmp_path):
    node = helper.make_node("Identity", ["x"], ["y"])
    model = graph([node], [value("x", ["batch", 3])], [value("y", ["batch", 3])])
    path = save(tmp_path, model)
    export(path, tmp_path / "out")
    exported = onnx.load(str(tmp_path / "out/policy.onnx"))
    assert [dim.dim_value for dim in exported.graph.input[0].type.tensor_type.shape.dim] == [1, 3]


def test_golden_data_comes_from_an_oracle_when_there_is_none(tiny, tmp_path):
    document = export(tiny, tmp_path / "out")
    assert document.reference.endswith("without optimisation")
    with np.load(tmp_path / "out/golden.npz") as golden:
        assert golden["out.action"].shape == (2, 4, 2)
        assert set(golden.files) == {"in.top", "in.wrist", "in.state", "out.action"}


def test_golden_data_beside_the_graph_is_taken(tiny, tmp_path):
    rng = np.random.default_rng(1)
    golden = {"in.top": rng.normal(size=(1, 3, 8, 10)), "in.wrist": rng.normal(size=(1, 3, 8, 10))}
    golden |= {"in.state": rng.normal(size=(1, 3)), "out.action": rng.normal(size=(1, 4, 2))}
    np.savez(tmp_path / "net.golden.npz", **{k: v.astype(np.float32) for k, v in golden.items()})
    before = card_of(tiny).digest
    document = export(tiny, tmp_path / "out")
    assert document.reference.startswith("net.golden.npz; onnxruntime")
    assert "differs: action by" in document.reference
    with np.load(tmp_path / "out/golden.npz") as taken:
        np.testing.assert_array_equal(taken["out.action"].ravel(), golden["out.action"].astype(np.float32).ravel())
    assert (document.cases, document.inputs_kind) == (1, "recorded")
    np.savez(tmp_path / "net.golden.npz", **{k: v + 1 for k, v in golden.items()})
    assert card_of(tiny).digest != before


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_graph_is_corrupt(tiny, kept):
    data = tiny.read_bytes()
    tiny.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(CheckpointCorruptError, match=r"net\.onnx"):
        card_of(tiny)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_never_gives_a_traceback(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flip")
    content = bytearray(tiny_graph())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = folder / "net.onnx"
    path.write_bytes(bytes(content))
    try:
        card = card_of(path)
        assert card.policy.observations
        export(path, folder / "out")
    except EdgectlError:
        pass


@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=100))
def test_any_bytes_give_one_of_our_errors(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("bytes") / "net.onnx"
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        card_of(path)


@pytest.mark.parametrize("domain", ["", "our.lab"])
def test_an_unknown_operator_is_named_with_its_node(tmp_path, domain):
    node = helper.make_node("FancyRelu", ["x"], ["y"], name="n7", domain=domain)
    model = graph([node], [value("x", [1, 2])], [value("y", [1, 2])])
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    with pytest.raises(OperatorError, match="FancyRelu"):
        export(save(tmp_path, model), tmp_path / "out")


def test_an_operator_inside_a_branch_is_found(tmp_path):
    inner = helper.make_graph([helper.make_node("FancyRelu", ["x"], ["b"])], "then", [], [value("b", [1, 2])])
    other = helper.make_graph([helper.make_node("Identity", ["x"], ["b"])], "else", [], [value("b", [1, 2])])
    node = helper.make_node("If", ["flag"], ["y"], then_branch=inner, else_branch=other)
    inputs = [value("flag", [], TensorProto.BOOL), value("x", [1, 2])]
    path = save(tmp_path, graph([node], inputs, [value("y", [1, 2])]))
    with pytest.raises(OperatorError, match="FancyRelu"):
        export(path, tmp_path / "out")


def test_an_output_that_is_not_finite_is_refused_at_once(tmp_path):
    node = helper.make_node("Log", ["x"], ["y"])
    path = save(tmp_path, graph([node], [value("x", [1, 2])], [value("y", [1, 2])]))
    with pytest.raises(NonFiniteError, match="y"):
        export(path, tmp_path / "out", {"x": np.full((2, 2), -1.0, np.float32)})


def test_an_input_that_edgectl_cannot_feed_is_refused(tmp_path):
    node = helper.make_node("Identity", ["x"], ["y"])
    model = graph([node], [value("x", [1], TensorProto.STRING)], [value("y", [1], TensorProto.STRING)])
    with pytest.raises(CheckpointError, match="'x'"):
        card_of(save(tmp_path, model))


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd"])
def test_external_data_outside_the_folder_is_refused(tmp_path, location):
    model = external(location)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="leaves|outside|unsafe"):
        card_of(tmp_path / "net.onnx")


def test_external_data_that_is_missing_is_named(tmp_path):
    (tmp_path / "net.onnx").write_bytes(external("weights.bin").SerializeToString())
    with pytest.raises(CheckpointCorruptError, match=r"weights\.bin"):
        card_of(tmp_path / "net.onnx")


def test_external_data_is_part_of_the_digest_and_of_the_export(tmp_path):
    (tmp_path / "net.onnx").write_bytes(external("weights.bin").SerializeToString())
    (tmp_path / "weights.bin").write_bytes(np.float32([1, 2]).tobytes())
    before = card_of(tmp_path / "net.onnx").digest
    export(tmp_path / "net.onnx", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("*.onnx*")] == ["policy.onnx"]
    (tmp_path / "weights.bin").write_bytes(np.float32([1, 3]).tobytes())
    assert card_of(tmp_path / "net.onnx").digest != before


def external(location):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    node = helper.make_node("Add", ["x", "w"], ["y"])
    return graph([node], [value("x", [1, 2])], [value("y", [1, 2])], constants=[tensor])
