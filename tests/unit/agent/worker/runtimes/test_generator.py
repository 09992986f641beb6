from dataclasses import replace

import numpy as np
import onnx
import pytest

from edgectl_agent.worker.runtimes.base import Graph, LoadedFacts, fixed_outputs
from edgectl_agent.worker.runtimes.generator import CachedGenerator
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import BundleError
from edgectl_testkit.programs import component, language_component, language_graph, language_logits, spec


@pytest.fixture(params=["reference", "onnxrt", "openvino"])
def generator(request, tmp_path):
    onnx.save(language_graph(), tmp_path / "model.onnx")
    made = language_component(request.param)
    runtime = create(request.param)
    runtime.import_library()
    return CachedGenerator(runtime.load(tmp_path / "model.onnx", made, 1), made)


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
    known = language_component("reference")
    for changed in (
        replace(known, states={}),
        replace(known, inputs=tuple(port for port in known.inputs if port.name != "ids")),
    ):
        with pytest.raises(BundleError, match="cannot generate"):
            CachedGenerator(None, changed)


class _Counting(Graph):
    """Says how much its state is, and the new state is one more than that; it writes before it reads, as it may."""

    def __init__(self, made):
        super().__init__("counting", made, LoadedFacts("fp32", "none", "0"))
        self._outputs = fixed_outputs(made)
        self._inputs_now = {}

    def _bind(self, name, array):
        self._inputs_now[name] = array
        return True

    def _run(self):
        before = float(self._inputs_now["past"][0])
        self._outputs["present"][...] = before + 1
        # What it was given must still be there.
        self._outputs["logits"][...] = self._inputs_now["past"][0]
        return self._outputs

    def _fork(self):
        return _Counting(self.component)

    def _close(self): ...

    def _vendor_errors(self):
        return ()


def test_a_cache_of_fixed_shape_is_not_what_the_graph_writes_into():
    made = component(
        "counting",
        [spec("ids", 1, -1, dtype=DType.INT64), spec("past", 1)],
        [spec("logits", 1, 1, 2), spec("present", 1)],
        states={"past": "present"},
    )
    generator = CachedGenerator(_Counting(made), made)
    for _ in range(2):
        found = [float(generator.prefill(np.array([1, 2]))[0]), *(float(generator.decode(3)[0]) for _ in range(3))]
        assert found == [0, 1, 2, 3]
