"""In which Python a release is loaded."""

from __future__ import annotations

import pytest

from edgectl_agent.core.store.store import parse_manifest
from edgectl_agent.core.workers.interpreters import Interpreters, Seat, calls_of
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.bundle import MANIFEST_NAME
from edgectl_protos.domain.program import Generate, Program
from edgectl_testkit.stub_bundles import Part, stub_bundle

PYTHONS = Interpreters("/agent/python", {"tensorrt": "/jetpack/python", "executorch": "/torch/python"})


@pytest.fixture
def seat(tmp_path):
    def of(*parts: Part) -> Seat:
        return PYTHONS.seat(parse_manifest((stub_bundle(tmp_path, parts=parts) / MANIFEST_NAME).read_bytes()))

    return of


def test_one_runtime_is_loaded_where_it_lives(seat):
    assert seat(Part("full", "onnxrt")) == Seat("/agent/python", {})
    assert seat(Part("full", "tensorrt")) == Seat("/jetpack/python", {})


def test_a_file_may_name_others_while_the_agent_runs(tmp_path):
    file = tmp_path / "interpreters.json"
    pythons = Interpreters("/agent/python", {"tensorrt": "/jetpack/python"}, file)
    assert pythons.by_runtime == {"tensorrt": "/jetpack/python"}
    file.write_text('{"interpreters": {"executorch": "/torch/python", "tensorrt": "/other/python"}}')
    assert pythons.by_runtime == {"executorch": "/torch/python", "tensorrt": "/jetpack/python"}
    file.write_text("{")
    assert pythons.by_runtime == {"tensorrt": "/jetpack/python"}


def test_the_worker_runs_where_an_inference_calls_most_often_and_borrows_the_rest(seat):
    parts = (Part("vision", "onnxrt"), Part("prefix", "executorch"), Part("step", "tensorrt", passes=10))
    assert seat(*parts) == Seat("/jetpack/python", {"onnxrt": "/agent/python", "executorch": "/torch/python"})


def test_runtimes_of_one_python_count_together(seat):
    parts = (Part("a", "tensorrt", passes=5), Part("b", "onnxrt", passes=3), Part("c", "openvino", passes=3))
    assert seat(*parts) == Seat("/agent/python", {"tensorrt": "/jetpack/python"})


def test_of_two_that_are_called_equally_often_the_first_is_taken(seat):
    assert seat(Part("a", "tensorrt"), Part("b", "onnxrt")).python == "/jetpack/python"
    assert seat(Part("a", "onnxrt"), Part("b", "tensorrt")).python == "/agent/python"


def test_each_generated_token_is_a_call():
    tokens = TensorSpec("tokens", DType.INT64, (1, 64))
    program = Program((tokens,), (Generate("say", "decoder", "ids", "tokens", 2),), "tokens")
    assert calls_of(program) == {"decoder": 64}
