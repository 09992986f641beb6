from __future__ import annotations

import onnx

from edgectl_converters.products import write_products
from edgectl_converters.sources.frame_ranges import graph_ranges
from edgectl_converters.work import count


def test_the_products_are_nearly_all_of_the_work(tmp_path):
    path = write_products(tmp_path / "products.onnx")
    onnx.checker.check_model(str(path))
    work = count(path)
    assert work is not None
    assert work.operations == 6 * 2 * 512 * 1024 * 1024 + 2 * 1024 * 4
    assert work.weights == 6 * 1024 * 1024 + 1024 * 4 + 1


def test_weights_that_were_left_out_show_no_range(tmp_path):
    model = onnx.load(write_products(tmp_path / "products.onnx"))
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
    assert graph_ranges(model) == {}
