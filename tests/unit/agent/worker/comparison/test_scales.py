"""Errors of actions are told in the robot's units and judged by the scale of their own dimension."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgectl_agent.worker.comparison import compare_actions, dimensions_of
from edgectl_protos.domain.policy import Dimension
from edgectl_testkit.compared_actions import (
    AT_FP32_AND_INT8,
    DIM,
    FP32,
    GRIPPER,
    INT8,
    NAMES,
    changed,
    expected,
    failures,
    figure_of,
    moved,
    moves,
    noise,
)
from edgectl_testkit.small_policies import policy


@AT_FP32_AND_INT8
def test_the_same_actions_pass_with_no_error_at_all(tolerance):
    actions = moves()
    figures, dimensions = compare_actions(actions.copy(), expected(actions), tolerance)
    assert figures
    assert all(figure.value == 0 and figure.passed for figure in figures)
    assert [one.name for one in dimensions] == list(NAMES)
    assert all((one.rmse, one.worst) == (0, 0) and one.correlation == pytest.approx(1) for one in dimensions)


def test_an_error_is_told_in_the_robots_units_and_judged_by_the_deviation_of_its_own_dimension():
    actions = moves().astype(np.float64)
    found = changed(actions, GRIPPER, lambda metres: metres + 0.003)
    _, dimensions = compare_actions(found, expected(actions), INT8)
    gripper = dimensions[GRIPPER]
    assert (gripper.rmse, gripper.worst) == (pytest.approx(0.003), pytest.approx(0.003))
    assert gripper.scale == gripper.deviation == pytest.approx(float(actions[..., GRIPPER].std()))
    figure = figure_of(found, expected(actions), "executed", tolerance=INT8)
    assert (figure.at, figure.value) == ("gripper", pytest.approx(0.003 / gripper.deviation))
    assert figure.limit == pytest.approx(INT8.rmse, rel=1e-3)


@AT_FP32_AND_INT8
def test_an_inverted_gripper_in_metres_among_joints_in_degrees_is_refused_by_its_name(tolerance):
    actions = moves()
    found = changed(actions, GRIPPER, lambda metres: 0.08 - metres)
    # Of the pooled range of all dimensions it is nothing.
    assert np.abs(found - actions).max() / np.ptp(actions) < 1e-3
    assert {figure.at for figure in failures(found, expected(actions), tolerance)} >= {"gripper"}


@pytest.mark.parametrize("index", range(DIM), ids=NAMES)
@pytest.mark.parametrize(("tolerance", "factor"), [(FP32, 1.02), (INT8, 1.15)], ids=["fp32", "int8"])
def test_one_dimension_that_is_scaled_is_refused(tolerance, factor, index):
    actions = moves()
    found = changed(actions, index, lambda values: values * factor)
    assert {NAMES[index]} == {figure.at for figure in failures(found, expected(actions), tolerance) if figure.at}


@pytest.mark.parametrize("index", range(DIM), ids=NAMES)
@pytest.mark.parametrize(("tolerance", "factor"), [(FP32, 1.02), (INT8, 1.15)], ids=["fp32", "int8"])
def test_one_dimension_that_is_scaled_about_its_middle_is_refused_too(tolerance, factor, index):
    actions = moves()
    found = changed(actions, index, lambda values: values.mean() + (values - values.mean()) * factor)
    assert {NAMES[index]} == {figure.at for figure in failures(found, expected(actions), tolerance) if figure.at}


@AT_FP32_AND_INT8
@pytest.mark.parametrize("index", range(DIM), ids=NAMES)
def test_a_flipped_sign_is_refused(tolerance, index):
    actions = moves()
    assert failures(changed(actions, index, np.negative), expected(actions), tolerance)


def test_one_large_error_among_many_small_ones_is_refused_as_the_worst():
    actions = moves()
    found = actions.copy()
    found[3, 2, 1] += 0.6 * actions[..., 1].std()
    (figure,) = failures(found, expected(actions), INT8)
    assert (figure.subject, figure.statistic, figure.at) == ("executed", "worst", "lift")


def test_executed_actions_are_judged_apart_from_the_rest_of_the_chunk():
    actions = moves()
    found = actions.copy()
    found[:, 8:] += noise(actions, 0.3)[:, 8:]
    assert {figure.subject for figure in failures(found, expected(actions), INT8)} == {"rest of the chunk"}
    _, dimensions = compare_actions(found, expected(actions), INT8)
    assert all(one.rmse == 0 for one in dimensions)
    figures, _ = compare_actions(actions, expected(actions, use=20), INT8)
    assert "rest of the chunk" not in {figure.subject for figure in figures}


# --- dimensions that do not move -------------------------------------------------------------------------------------


def test_a_dimension_that_never_moves_is_judged_by_its_size():
    actions = changed(moves(), 3, lambda values: np.full_like(values, -40))
    found = changed(actions, 3, lambda values: values + 0.4)
    _, dimensions = compare_actions(found, expected(actions), FP32)
    assert (dimensions[3].scale, dimensions[3].deviation, dimensions[3].correlation) == (40, 0, None)
    figure = figure_of(found, expected(actions), "executed")
    assert (figure.at, figure.value) == ("flex", pytest.approx(0.01, rel=1e-4))
    assert failures(found, expected(actions), FP32)
    assert not failures(found, expected(actions), INT8)


def test_a_dimension_that_is_always_zero_is_judged_as_it_is():
    actions = changed(moves(), 3, np.zeros_like)
    assert not failures(changed(actions, 3, lambda values: values + 1e-3), expected(actions), FP32)
    assert failures(changed(actions, 3, lambda values: values + 1e-2), expected(actions), FP32)


def still(value=0.1):
    """A constant as float32 arithmetic leaves it: of two values, one bit apart."""
    near = np.array([value, np.nextafter(np.float32(value), np.float32(1))], np.float32)
    return changed(moves(), 3, lambda values: near[np.arange(values.size) % 2].reshape(values.shape))


@AT_FP32_AND_INT8
def test_the_last_bit_of_a_constant_is_no_class(tolerance):
    actions = still()
    found = changed(actions, 3, lambda values: np.flip(values, axis=1))
    assert np.any(found != actions)
    assert not failures(found, expected(actions), tolerance)
    _, dimensions = compare_actions(found, expected(actions), tolerance)
    assert dimensions[3].unequal is None


def test_the_last_bit_of_a_constant_does_not_hide_exchanged_cameras():
    actions = still()
    other = moved(actions)
    found = changed(other, 3, lambda values: values + 1e-6)
    assert [figure.subject for figure in failures(found, expected(actions, swapped=other), INT8)] == [
        "taken for swapped"
    ]


@AT_FP32_AND_INT8
def test_of_outputs_of_vanishing_range_what_float32_cannot_tell_apart_passes(tolerance):
    actions = (moves() * 1e-10).astype(np.float32)
    assert np.ptp(actions) < 2e-8
    assert not failures(actions + noise(actions, 2.0), expected(actions), tolerance)
    assert failures(actions + np.float32(5e-7), expected(actions), tolerance)


def test_values_too_small_to_divide_by_leave_every_figure_a_number():
    actions = moves().astype(np.float64) * 1e-310
    figures, dimensions = compare_actions(actions + 1, expected(actions), FP32)
    assert not all(figure.passed for figure in figures)
    numbers = [figure.value for figure in figures] + [figure.limit for figure in figures]
    numbers += [value for one in dimensions for value in (one.rmse, one.worst, one.scale)]
    assert np.isfinite(numbers).all()


# --- names -----------------------------------------------------------------------------------------------------------


def test_dimensions_that_nobody_named_are_numbered():
    assert [one.name for one in dimensions_of(policy(), 2)] == ["action[0]", "action[1]"]
    named = (Dimension("shoulder"), Dimension("gripper", 0.5))
    assert dimensions_of(replace(policy(), dimensions=named), 2) == named
