from dataclasses import replace

import numpy as np
import onnx
import pytest

from edgectl_agent.worker.runtimes.generator import CachedGenerator
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.domain.errors import BundleError
from edgectl_testkit.programs import language_component, language_graph, language_logits


@pytest.fixture(params=["reference", "onnxrt", "openvino"])
def generator(request, tmp_path):
    onnx.save(language_graph(), tmp_path / "model.onnx")
    component = language_component(request.param)
    runtime = create(request.param)
    runtime.import_library()
    return CachedGenerator(runtime.load(tmp_path / "model.onnx", component, 1), component)


def test_a_token_at_a_time_gives_what_the_whole_text_gives(generator):
    text = [3, 1, 4, 1, 5]
    np.testing.assert_allclose(generator.prefill(np.array(text[:2])), language_logits(text[:2]), rtol=1e-5)
    for end in (3, 4, 5):
        np.testing.assert_allclose(generator.decode(text[end - 1]), language_logits(text[:end]), rtol=1e-5)


def test_every_prefill_begins_a_new_text(generator):
    generator.prefill(np.array([3, 1, 4]))
    generator.decode(2)
    np.testing.assert_allclose(generator.prefill(np.array([5, 6])), language_logits([5, 6]), rtol=1e-5)


def test_a_component_that_takes_more_than_ids_cannot_generate():
    component = language_component("reference")
    for changed in (
        replace(component, states={}),
        replace(component, inputs=tuple(spec for spec in component.inputs if spec.name != "ids")),
    ):
        with pytest.raises(BundleError, match="cannot generate"):
            CachedGenerator(None, changed)
