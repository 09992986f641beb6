from __future__ import annotations

from dataclasses import replace

import pytest
from onnx import TensorProto, helper

from edgectl_converters.assignment import Assignment
from edgectl_converters.inspect import inspect
from edgectl_converters.refusals import keep_refusal, known_refusals
from edgectl_converters.route import RouteRequest, plan_routes
from edgectl_converters.toolchain import Toolchains
from edgectl_converters.workshop import Workshop
from edgectl_profiles.library import load
from edgectl_protos.domain.errors import OperatorError


@pytest.fixture
def shop(tmp_path):
    return Workshop(tmp_path / "cache", Toolchains(tmp_path / "cache", tmp_path / "config"))


@pytest.fixture
def card(tmp_path, shop):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", values[:1], values[1:])
    path = tmp_path / "graph.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    )
    return inspect(path, shop.digests)


def test_an_operator_that_was_refused_closes_its_way_and_no_other(card, shop):
    assert known_refusals(card, shop) == {}
    keep_refusal(card, Assignment.of("openvino", "fp32"), shop, OperatorError("openvino does not know Foo"))
    refused = known_refusals(card, shop)
    assert refused == {("openvino", "fp32"): "openvino does not know Foo"}
    plan = plan_routes(card, load("generic-x86_64"), None, RouteRequest(refused=refused))
    assert str(plan.best().assignment.runtime) == "onnxrt"
    assert any(other.reason == "openvino does not know Foo" for other in plan.rejected)


def test_of_a_mixture_nothing_is_kept(card, shop):
    keep_refusal(card, Assignment.of("act=openvino,onnxrt", "fp32"), shop, OperatorError("Foo"))
    assert known_refusals(card, shop) == {}


def test_another_lock_is_another_try(card, shop, monkeypatch):
    keep_refusal(card, Assignment.of("openvino", "fp32"), shop, OperatorError("Foo"))
    host = shop.toolchains.host
    monkeypatch.setattr(shop.toolchains, "host", lambda packages=(): _newer(host(packages)))
    assert known_refusals(card, shop) == {}


def _newer(chain):
    return replace(chain, lock="f" * 64)
