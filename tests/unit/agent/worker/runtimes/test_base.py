import pytest

from edgectl_agent.worker.runtimes.base import bulk_precision, fits, sentence


def test_the_precision_of_most_kernels_is_that_of_the_graph():
    assert bulk_precision(["fp32", "int8", "int8"]) == "int8"
    assert bulk_precision([]) == "fp32"


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
