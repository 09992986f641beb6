"""Tensors inside the program."""

from __future__ import annotations

import numpy as np
import pytest

from edgectl_agent.worker.comparison import (
    compare_tensor,
)
from edgectl_protos.domain.errors import NonFiniteError, ShapeError


def test_a_tensor_is_judged_by_its_rmse_in_parts_of_its_deviation():
    values = np.array([[0.0, 10.0], [-10.0, 5.0]])
    figure = compare_tensor("call", values + 0.02, values, 5e-3, at="output y")
    assert (figure.subject, figure.statistic, figure.at) == ("call", "rmse", "output y")
    assert figure.value == pytest.approx(0.02 / values.std())
    assert figure.passed
    assert not compare_tensor("call", values + 0.1, values, 5e-3).passed


def test_a_tensor_that_is_constant_is_judged_by_its_size_and_zeros_as_they_are():
    assert compare_tensor("x", np.full(6, 4.04), np.full(6, 4.0), 1.0).value == pytest.approx(0.01)
    assert compare_tensor("x", np.zeros(2), np.zeros(2), 0.0).passed
    assert not compare_tensor("x", np.ones(2), np.zeros(2), 0.5).passed
    assert compare_tensor("x", np.zeros(0), np.zeros(0), 0.0).passed
    assert compare_tensor("x", np.zeros(0, np.int64), np.zeros(0, np.int64), 0.0).passed


def test_what_is_not_finite_is_equal_where_both_have_it():
    mask = np.array([0.0, -np.inf, 1.0, np.inf, np.nan])
    assert compare_tensor("mask", mask, mask.copy(), 0.0).passed
    assert not compare_tensor("mask", mask + np.array([0.5, 0, 0, 0, 0]), mask, 0.1).passed
    for at, wrong in ((1, np.inf), (1, -1.0), (0, np.nan), (4, 0.0)):
        other = mask.copy()
        other[at] = wrong
        with pytest.raises(NonFiniteError):
            compare_tensor("mask", other, mask, 0.0)


def test_what_float32_cannot_tell_apart_in_a_tensor_is_no_error():
    values = np.linspace(1000, 1001, 50, dtype=np.float32)
    assert compare_tensor("x", np.nextafter(values, np.float32(2000)), values, 0.0).passed
    assert not compare_tensor("x", values + np.float32(0.01), values, 0.0).passed


@pytest.mark.parametrize("dtype", [np.int64, np.bool_])
def test_whole_numbers_of_a_tensor_are_judged_by_the_share_that_differs(dtype):
    values = np.zeros(50, dtype)
    found = values.copy()
    found[7] = 1
    figure = compare_tensor("ids", found, values, 9.0)
    assert (figure.statistic, figure.value, figure.passed) == ("unequal", 0.02, False)
    assert compare_tensor("ids", found, values, 0.0, unequal=0.02).passed


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_a_tensor_with_no_finite_number_in_it_is_an_error(value):
    with pytest.raises(NonFiniteError, match="1 of 2 values of output y are not finite here"):
        compare_tensor("x", np.array([1.0, value]), np.zeros(2), 1.0, at="output y")
    with pytest.raises(NonFiniteError, match="1 of 2 values of x are not finite in the golden cases"):
        compare_tensor("x", np.zeros(2), np.array([1.0, value]), 1.0)


def test_a_tensor_with_an_axis_of_one_more_is_the_same_and_any_other_is_not():
    assert compare_tensor("x", np.ones((2, 3)), np.ones((2, 1, 3)), 0.0).passed
    with pytest.raises(ShapeError, match=r"x is \[2, 3\] here, \[3, 3\] in the golden cases"):
        compare_tensor("x", np.ones((2, 3)), np.ones((3, 3)), 0.0)
