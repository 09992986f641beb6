from dataclasses import replace

import numpy as np
import pytest

from edgectl_agent.worker.pipeline import Pipeline
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.errors import BundleError, ShapeError
from edgectl_testkit.bundles import CAMERAS, STATE, tiny_golden


@pytest.fixture
def pipeline(release):
    runtime = create("reference")
    runtime.load(release.path("full.onnx"), release.component, 1)
    return Pipeline(release, runtime)


def observation(case=0):
    golden = tiny_golden()
    return {name: golden[f"in.{name}"][case] for name in (*CAMERAS, STATE)}


def test_from_raw_observation_to_final_action(pipeline):
    outputs = pipeline.infer(pipeline.normalise(observation(1)))
    np.testing.assert_allclose(pipeline.unnormalise(outputs), tiny_golden()["out.action"][1], atol=1e-5)


def test_the_first_inference_is_timed_and_no_other(pipeline):
    assert pipeline.first_inference_s is None
    inputs = pipeline.normalise(observation())
    pipeline.infer(inputs)
    first = pipeline.first_inference_s
    assert first > 0
    pipeline.infer(inputs)
    assert pipeline.first_inference_s == first


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.zeros((9, 10, 3), np.uint8), r"uint8\[8, 10, 3\] .* got uint8\[9, 10, 3\]"),
        (np.zeros((8, 10, 3), np.float32), r"got float32\[8, 10, 3\]"),
        (np.zeros((8, 10), np.uint8), r"got uint8\[8, 10\]"),
    ],
)
def test_an_observation_that_is_not_the_feature_is_refused(pipeline, array, complaint):
    with pytest.raises(ShapeError, match=complaint) as caught:
        pipeline.check(CAMERAS[0], array, hint="do this")
    assert caught.value.hint == "do this"


def test_a_policy_that_does_not_feed_its_graph_is_refused(release):
    component = release.component
    extra = TensorSpec("depth", component.inputs[0].dtype, (1, 1))
    for changed in (
        replace(component, inputs=(*component.inputs, extra)),
        replace(component, inputs=component.inputs[1:]),
        replace(component, outputs=(extra,)),
    ):
        with pytest.raises(BundleError):
            Pipeline(replace(release, component=changed), create("reference"))
