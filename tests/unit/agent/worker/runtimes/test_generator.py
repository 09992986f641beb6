from dataclasses import replace

import numpy as np
import onnx
import pytest

from edgectl_agent.worker.runtimes.base import Graph, LoadedFacts, fixed_outputs
from edgectl_agent.worker.runtimes.generator import CachedGenerator, TextGraph
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import BundleError, DeviceError, StateError
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


class _Speaker(TextGraph):
    """Its logits are the last id, and how many came before."""

    def __init__(self, made=None):
        ports = (spec("ids", 1, -1, dtype=DType.INT64),), (spec("logits", 1, 2),)
        super().__init__("speaker", made or component("speaker", *ports), LoadedFacts("fp32", "none", "0"))
        self._count = 0

    def _prefill(self, ids):
        self._count = ids.size
        return np.array([ids[-1], self._count], np.float32)

    def _decode(self, token):
        if token < 0:
            raise RuntimeError("no such token")
        self._count += 1
        return np.array([token, self._count], np.float32)

    def _fork(self):
        return _Speaker()

    def _close(self):
        self._count = -1

    def _vendor_errors(self):
        return (RuntimeError,)


def test_a_graph_that_keeps_its_cache_is_a_generator_and_infers_by_prefill():
    graph = _Speaker()
    np.testing.assert_array_equal(graph.prefill(np.array([3, 4, 5])), [5, 3])
    np.testing.assert_array_equal(graph.decode(7), [7, 4])
    np.testing.assert_array_equal(graph.infer({"ids": np.array([[8, 9]])})["logits"], [[9, 2]])
    assert graph.token_bytes(10) == 0


def test_what_its_library_raises_is_a_device_error_and_a_closed_one_says_so():
    graph = _Speaker()
    with pytest.raises(DeviceError, match="speaker failed while generating: no such token"):
        graph.decode(-1)
    graph.close()
    for ask in (lambda: graph.decode(1), lambda: graph.prefill(np.array([1]))):
        with pytest.raises(StateError, match="no graph loaded"):
            ask()


def test_ports_of_no_language_model_are_refused():
    for logits in (spec("logits", 2, 2), spec("logits", 2), spec("logits", 1, 2, dtype=DType.INT64)):
        with pytest.raises(BundleError, match="no language model"):
            _Speaker(component("speaker", (spec("ids", 1, -1, dtype=DType.INT64),), (logits,)))
