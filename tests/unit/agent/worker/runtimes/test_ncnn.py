from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.runtime import RuntimeContract
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import BundleCorruptError, DeviceError
from edgectl_testkit.bundles import ACTION_DIM, CHUNK, tiny_component

# The tiny policy by hand: the mean of each camera's planes, joined with the state, and one inner product.
PARAM = """7767517
11 11
Input          top     0 1 top
Input          wrist   0 1 wrist
Input          state   0 1 state
Pooling        gap0    1 1 top a 0=1 4=1
Pooling        gap1    1 1 wrist b 0=1 4=1
Reshape        flat0   1 1 a c 0=3
Reshape        flat1   1 1 b d 0=3
BinaryOp       add     2 1 c d e 0=0
Concat         cat     2 1 e state f 0=0
InnerProduct   product 1 1 f g 0=8 1=1 2=48
Reshape        chunk   1 1 g action 0=2 1=4
"""


def weights() -> bytes:
    base = (0.01 * np.arange(CHUNK)[:, None] + 0.1 * np.arange(ACTION_DIM)).reshape(-1)
    row = np.array([1 / 3] * 3 + [0.5] * 3)
    # A flag of 0 says that float32 weights follow.
    return bytes(4) + np.tile(row, (base.size, 1)).astype("<f4").tobytes() + base.astype("<f4").tobytes()


class TestNcnnRuntime(RuntimeContract):
    runtime_name = "ncnn"
    library = "ncnn"
    entry = "model.param"

    def files(self) -> dict[str, bytes]:
        return {"model.param": PARAM.encode(), "model.bin": weights()}

    def give_it_an_unknown_operator(self, artifact: Path) -> str:
        artifact.write_text(PARAM.replace("BinaryOp  ", "Frobnicate"))
        return "Frobnicate"


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "model.param").write_text(PARAM)
    (tmp_path / "model.bin").write_bytes(weights())
    return tmp_path / "model.param"


def component():
    return replace(tiny_component(runtime="ncnn"), entry="model.param")


def test_weights_that_are_missing_or_cut_off_are_refused(artifact):
    (artifact.with_suffix(".bin")).write_bytes(weights()[:50])
    with pytest.raises(BundleCorruptError, match=r"model\.param"):
        create("ncnn").load(artifact, component(), 1)
    artifact.with_suffix(".bin").unlink()
    with pytest.raises(BundleCorruptError, match=r"model\.bin"):
        create("ncnn").load(artifact, component(), 1)


def test_an_output_of_another_size_is_no_result(artifact):
    artifact.write_text(PARAM.replace("0=2 1=4", "0=4 1=2"))
    other = replace(component(), outputs=(TensorSpec("action", DType.FLOAT32, (1, 3, 3)),))
    graph = create("ncnn").load(artifact, other, 1)
    zeros = {spec.name: np.zeros(spec.shape, np.float32) for spec in other.inputs}
    with pytest.raises(DeviceError, match="gives"):
        graph.infer(zeros)
