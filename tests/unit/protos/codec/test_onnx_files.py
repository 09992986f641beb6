"""Files that an ONNX graph names besides itself."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgectl_protos.codec.onnx_files import check_onnx_files, files_of_onnx
from edgectl_protos.domain.errors import BundleCorruptError, BundlePathError, EdgectlError


def external(location: str, name: str = "w") -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="offset", value="0")
    return tensor


def graph(*nodes, initializers=()):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    return helper.make_graph(list(nodes), "g", [x], [y], initializer=list(initializers))


def add():
    return helper.make_node("Add", ["x", "w"], ["y"])


@pytest.fixture
def saved(tmp_path):
    def save(made, functions=()):
        path = tmp_path / "model.onnx"
        path.write_bytes(helper.make_model(made, functions=functions).SerializeToString())
        return path

    return save


def test_a_graph_that_names_nothing_is_read_without_its_weights(saved):
    weights = numpy_helper.from_array(np.random.default_rng(0).random(100_000, np.float32), "w")
    assert files_of_onnx(saved(graph(add(), initializers=[weights]))) == ()


def deep(location):
    """Where a tensor can hide: in a constant, in a branch, in a function, in a sparse one."""
    constant = helper.make_node("Constant", [], ["w"], value=external(location))
    branch = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, [4])])
    sparse = onnx.SparseTensorProto(values=external(location, "v"), indices=external("indices.bin", "i"), dims=[4])
    holding = graph(add())
    holding.sparse_initializer.append(sparse)
    function = helper.make_function("d", "F", ["x"], ["w"], [constant], [helper.make_opsetid("", 20)])
    default = onnx.FunctionProto(name="F", domain="d", attribute_proto=[helper.make_attribute("a", external(location))])
    return {
        "initializer": (graph(add(), initializers=[external(location)]), ()),
        "constant": (graph(constant, add()), ()),
        "branch": (graph(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)), ()),
        "sparse": (holding, ()),
        "function": (graph(helper.make_node("F", ["x"], ["y"], domain="d")), (function,)),
        "default of a function": (graph(helper.make_node("F", ["x"], ["y"], domain="d")), (default,)),
        "context": (
            graph(helper.make_node("EPContext", ["x"], ["y"], ep_cache_context=location, embed_mode=0)),
            (),
        ),
    }


@pytest.mark.parametrize("where", deep("w"))
@pytest.mark.parametrize("location", ["/etc/passwd", "../../secret", "a/../../b", "..", "a\0b", "\\\\host\\share"])
def test_a_path_out_of_the_folder_is_refused_wherever_it_stands(saved, where, location):
    with pytest.raises(BundlePathError):
        check_onnx_files(saved(*deep(location)[where]))


@pytest.mark.parametrize("where", deep("w"))
def test_a_file_beside_the_graph_may_be_named_and_must_be_there(saved, where, tmp_path):
    model = saved(*deep("weights.bin")[where])
    with pytest.raises(BundleCorruptError, match="not beside it"):
        check_onnx_files(model)
    for name in ("weights.bin", "indices.bin"):
        (tmp_path / name).write_bytes(bytes(64))
    check_onnx_files(model)
    (tmp_path / "weights.bin").unlink()
    (tmp_path / "weights.bin").symlink_to("/etc/passwd")
    with pytest.raises(BundlePathError, match="link"):
        check_onnx_files(model)


def test_an_embedded_context_is_no_path(saved):
    node = helper.make_node("EPContext", ["x"], ["y"], ep_cache_context=b"/binary/\xff", embed_mode=1)
    check_onnx_files(saved(graph(node)))


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x0f", b"PK\x03\x04", b"\x3a\x05\x0a"])
def test_bytes_that_are_no_graph_are_refused(tmp_path, data):
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(BundleCorruptError, match="no ONNX graph"):
        files_of_onnx(tmp_path / "m")


def field(number: int, data: bytes) -> bytes:
    size, text = len(data), b""
    while size > 0x7F:
        text, size = text + bytes([(size & 0x7F) | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + text + bytes([size]) + data


def model_of(*attributes: bytes) -> bytes:
    """A graph of one node with these attributes."""
    return field(7, field(1, b"".join(field(5, one) for one in attributes)))


def test_of_a_name_or_number_that_stands_twice_the_last_counts(tmp_path):
    context = helper.make_attribute("ep_cache_context", "../secret").SerializeToString()
    embedded, outside = (helper.make_attribute("embed_mode", mode).SerializeToString() for mode in (1, 0))
    decoy = onnx.AttributeProto(name="harmless").SerializeToString()
    for attributes in ((decoy + context, outside), (context, embedded + outside), (context, decoy + outside)):
        (tmp_path / "m").write_bytes(model_of(*attributes))
        assert files_of_onnx(tmp_path / "m") == ("../secret",)


def test_a_name_that_no_path_can_have_is_refused(tmp_path):
    (tmp_path / "m").write_bytes(model_of(helper.make_attribute("a" * 6000, 1).SerializeToString()))
    with pytest.raises(BundleCorruptError, match="a name of 6,000 bytes"):
        files_of_onnx(tmp_path / "m")


def test_nesting_without_end_is_refused(tmp_path):
    inner = b""
    for _ in range(100):
        inner = field(1, field(5, field(6, inner)))
    (tmp_path / "m").write_bytes(field(7, inner))
    with pytest.raises(BundleCorruptError, match="nested too deep"):
        files_of_onnx(tmp_path / "m")


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), cut=st.integers(0, 300), flip=st.integers(0, 300))
def test_whatever_the_bytes_it_is_a_list_or_our_error(tmp_path_factory, data, cut, flip):
    whole = bytearray(helper.make_model(deep("weights.bin")["branch"][0]).SerializeToString())
    whole[flip % len(whole)] ^= 0x55
    path = tmp_path_factory.mktemp("f") / "m"
    for text in (data, bytes(whole), bytes(whole[: cut % len(whole)])):
        path.write_bytes(text)
        try:
            assert all(isinstance(name, str) for name in files_of_onnx(path))
        except EdgectlError:
            continue
