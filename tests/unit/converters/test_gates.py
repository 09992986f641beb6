from __future__ import annotations

import numpy as np
import pytest

from edgectl_converters.gates import TOLERANCES, check_parity, check_precision
from edgectl_protos.domain.artifact import Precision
from edgectl_protos.domain.bundle import Tolerance
from edgectl_protos.domain.errors import NonFiniteError, ParityError, PrecisionError

EXPECTED = np.linspace(-2, 2, 40, dtype=np.float32).reshape(2, 10, 2)
FP32 = TOLERANCES[Precision.FP32]


def test_the_limits_are_those_that_the_documentation_states():
    assert TOLERANCES[Precision.FP32] == Tolerance(1e-4, 0.99999)
    assert TOLERANCES[Precision.BF16] == Tolerance(0.05, 0.999)
    assert TOLERANCES[Precision.INT8] == Tolerance(0.10, 0.99)
    assert set(TOLERANCES) == set(Precision)


def test_errors_are_relative_to_the_range_of_the_expected_values():
    error, cosine = check_parity("action", EXPECTED + 2e-4, EXPECTED, FP32)
    assert error.value == pytest.approx(2e-4 / 4, rel=1e-2)
    assert (error.gate, cosine.gate) == ("parity.max_abs_of_range", "parity.cosine")
    assert error.passed
    assert cosine.passed


def test_one_value_over_the_limit_fails_with_the_figures():
    found = EXPECTED.copy()
    found[1, 3, 1] += 0.01
    with pytest.raises(ParityError, match=r"action differs by 2\.5.e-03 .*1e-04.*cosine") as caught:
        check_parity("action", found, EXPECTED, FP32)
    assert "--footage" in caught.value.hint


def test_a_low_cosine_fails_even_when_no_value_is_far_off():
    tolerance = Tolerance(max_abs_of_range=10.0, min_cosine=0.99)
    with pytest.raises(ParityError, match="cosine"):
        check_parity("action", -EXPECTED, EXPECTED, tolerance)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_has_its_own_error(value):
    found = EXPECTED.copy()
    found[0, 0, 0] = value
    with pytest.raises(NonFiniteError, match="1 of 40 values"):
        check_parity("action", found, EXPECTED, FP32)


@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_a_constant_output_is_no_division_by_nothing(constant):
    expected = np.full((2, 3), constant)
    assert all(result.passed for result in check_parity("action", expected.copy(), expected, FP32))
    with pytest.raises(ParityError):
        check_parity("action", expected + 1, expected, FP32)


def test_another_precision_than_was_asked_for_is_refused_with_both():
    with pytest.raises(PrecisionError, match="computes at bf16, fp32 was asked for"):
        check_precision(Precision.FP32, Precision.BF16)
    assert check_precision(Precision.INT8, Precision.INT8).passed
