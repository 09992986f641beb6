"""Golden data beside a graph is confirmed by another oracle, or refused with its place."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgectl_protos.domain.errors import (
    NonFiniteError,
    ShapeError,
)
from edgectl_testkit.onnx_graphs import graph, linear, value


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
