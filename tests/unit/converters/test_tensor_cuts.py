"""Where tensors begin and end: of formats that are known, and of nothing else."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

from edgectl_converters.tensor_cuts import external_cuts, tensor_cuts
from edgectl_testkit.language_files import gguf_bytes

A, B = (np.arange(size, dtype=np.float32) * factor for size, factor in ((70_001, 3.7), (90_003, -2.1)))


def graph_of(tensors) -> onnx.ModelProto:
    graph = helper.make_graph([], "g", [], [helper.make_tensor_value_info("a", TensorProto.FLOAT, None)], tensors)
    return helper.make_model(graph)


def places(data: bytes, *arrays: np.ndarray) -> set[int]:
    starts = [(data.index(array.tobytes()), array.nbytes) for array in arrays]
    return {edge for start, size in starts for edge in (start, start + size)}


def test_of_safetensors(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(save({"a": A, "b": B}))
    assert set(tensor_cuts(path)) == places(path.read_bytes(), A, B)


def test_of_an_onnx_graph(tmp_path):
    path = tmp_path / "x"
    typed = helper.make_tensor("t", TensorProto.FLOAT, [A.size], A)
    path.write_bytes(graph_of([numpy_helper.from_array(B, "b"), typed]).SerializeToString())
    assert set(tensor_cuts(path)) >= places(path.read_bytes(), A, B)


def test_of_the_external_data_of_an_onnx_graph(tmp_path):
    model = graph_of([numpy_helper.from_array(A, "a"), numpy_helper.from_array(B, "b")])
    onnx.save(model, str(tmp_path / "m.onnx"), save_as_external_data=True, location="m.data", size_threshold=0)
    data = (tmp_path / "m.data").read_bytes()
    assert set(external_cuts(tmp_path / "m.onnx", "m.data")) == places(data, A, B)
    assert external_cuts(tmp_path / "m.onnx", "other.data") == []


def test_of_gguf(tmp_path):
    path = tmp_path / "x"
    kinds = {name: (0, array.shape, array.tobytes()) for name, array in (("a", A), ("b", B))}
    path.write_bytes(gguf_bytes({"general.architecture": "x"}, kinds))
    assert set(tensor_cuts(path)) == places(path.read_bytes(), A, B)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08",
        b"plain text that goes on for a while",
        bytes(5000),
        b"\xff" * 5000,
        b"GGUF" + b"\xff" * 60,
        (1 << 60).to_bytes(8, "little") + b"{}",
        (7).to_bytes(8, "little") + b'{"a":1}',
        (2).to_bytes(8, "little") + b"{}",
        (100_000).to_bytes(8, "little") + b'{"a":' + b"[" * 99_995,
        *(
            len(text).to_bytes(8, "little") + text
            for text in (
                json.dumps({"a": {"data_offsets": "no"}}).encode(),
                json.dumps({"a": {"data_offsets": [1e400, None]}}).encode(),
                json.dumps({"a": {}}).encode(),
            )
        ),
    ],
)
def test_other_files_have_none(tmp_path, data):
    path = tmp_path / "x"
    path.write_bytes(data)
    assert tensor_cuts(path) == []
    assert external_cuts(path, "") == []


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_has_none(tmp_path_factory, data):
    small = np.arange(20, dtype=np.float32)
    whole = data.draw(
        st.sampled_from([save({"a": small}), graph_of([numpy_helper.from_array(small, "a")]).SerializeToString()])
    )
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("broken") / "x"
    path.write_bytes(bytes(broken[: data.draw(st.integers(0, len(broken)))]))
    assert all(isinstance(edge, int) for edge in tensor_cuts(path))
