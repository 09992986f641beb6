"""Weights beside a graph stay there, and are whole."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto

from edgectl_protos.domain.errors import (
    CheckpointCorruptError,
)
from edgectl_testkit.onnx_graphs import linear, value


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
