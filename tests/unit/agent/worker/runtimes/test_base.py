from dataclasses import replace

import pytest

from edgectl_agent.worker.runtimes.base import bulk_precision, fits, sentence
from edgectl_protos.domain.artifact import DType, TensorSpec


def test_the_precision_of_most_kernels_that_carry_weight_is_that_of_the_graph(component):
    assert bulk_precision(["fp32", "int8", "int8"], ["fp32"] * 9, component) == "int8"
    assert bulk_precision([], ["bf16"], component) == "bf16"
    assert bulk_precision([], [], component) == "fp32"


def test_without_such_kernels_a_type_of_the_graphs_own_ports_is_what_was_asked_for(component):
    half = replace(component, outputs=(TensorSpec("action", DType.FLOAT16, (1, 2, 2)),))
    assert bulk_precision([], ["fp16"], half) == "fp32"
    assert bulk_precision([], ["fp16"], component) == "fp16"
    assert bulk_precision(["fp16"], [], half) == "fp16"
    assert bulk_precision([], ["fp32"], replace(half, scheme="int8")) == "fp32"


@pytest.mark.parametrize(
    ("shape", "spec", "fit"),
    [((1, 3), (1, 3), True), ((1, 3), (-1, 3), True), ((1, 3), (1, 4), False), ((3,), (1, 3), False)],
)
def test_a_free_dimension_takes_any_size_and_no_other_does(shape, spec, fit):
    assert fits(shape, spec) is fit


def test_a_vendor_message_becomes_one_bearable_line():
    assert sentence(RuntimeError("a\n  b\n\nc")) == "a b c"
    assert len(sentence(RuntimeError("x" * 5000))) == 400
    assert sentence(ValueError()) == "ValueError"
