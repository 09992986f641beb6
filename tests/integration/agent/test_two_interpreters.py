"""A release whose components live in two runtimes of two Pythons, with real workers and real graphs."""

from __future__ import annotations

import sys
from dataclasses import replace

import onnx
import pytest
from onnx import TensorProto, helper

from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.bundle import MANIFEST_NAME, Component
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.program import Call, Program, Repeat
from edgectl_protos.domain.run import RunPhase
from edgectl_testkit.bundles import ACTION_DIM, CHUNK, tiny_bundle, tiny_component, tiny_loop, tiny_program
from edgectl_testkit.raw_client import RawClient, manifest_of
from edgectl_testkit.serve import serve
from edgectl_testkit.stub_bundles import write_blobs

PASSES = 4
SHAPE = (1, CHUNK, ACTION_DIM)


def halving_graph() -> bytes:
    """y = x / 2 + x / 2: a component that changes nothing, however often it is called."""
    nodes = [
        helper.make_node("Mul", ["x", "half"], ["h"]),
        helper.make_node("Add", ["h", "h"], ["y"]),
    ]
    half = helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "halving", ports[:1], ports[1:], [half])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


@pytest.fixture
def bundle(tmp_path):
    """The tiny policy, its chunk sent through a second component `PASSES` times."""
    folder, _ = tiny_bundle(tmp_path / "bundle", loop=tiny_loop(rate_hz=50.0, measure_s=0.4))
    manifest = manifest_of(folder)
    program = tiny_program()
    *before, post = program.steps
    refine = Repeat("refine", PASSES, (Call("half", "half", {"x": "chunk"}, {"y": "chunk"}),))
    half = Component(
        name="half",
        runtime="onnxrt",
        scheme="fp32",
        entry="model.onnx",
        inputs=(TensorSpec("x", DType.FLOAT32, SHAPE),),
        outputs=(TensorSpec("y", DType.FLOAT32, SHAPE),),
        tolerance=tiny_component().tolerance,
    )
    changed = replace(
        manifest,
        program=Program(program.tensors, (*before, refine, post), "action", arrays=program.arrays),
        components=(*manifest.components, half),
        files=(*manifest.files, *write_blobs(folder, {"components/half/model.onnx": halving_graph()})),
    )
    (folder / MANIFEST_NAME).write_bytes(canonical_bytes(changed))
    return folder


@pytest.fixture
def other_python(tmp_path):
    """Another Python, as far as the agent can see."""
    path = tmp_path / "other-python"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("elsewhere", ["onnxrt", "reference"])
def test_a_release_of_two_pythons_is_proved_and_measured(tmp_path, bundle, other_python, elsewhere):
    """The worker runs where the second component lives, which is called more often, and borrows the first."""
    changes = {"interpreters": {elsewhere: other_python}, "probe_timeout_s": 120.0}
    with serve(tmp_path / "state", real_worker=True, **changes) as address, RawClient(address) as client:
        installed = client.deploy(bundle, "d-1")
        assert installed.state is State.COMMITTED, installed.failure
        last = list(client.run("r-1"))[-1]
    assert [(found.name, found.runtime) for found in installed.components] == [("act", "reference"), ("half", "onnxrt")]
    assert installed.parity.figures
    assert installed.parity.failures == ()
    assert last.phase is RunPhase.DONE, last.failure
    spans = {span.id: span for span in last.summary.spans}
    assert len(spans["half"].passes) == PASSES
    assert spans["half"].component == "half"
