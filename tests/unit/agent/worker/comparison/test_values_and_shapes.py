"""What cannot be compared is an error and no figure; every shape that can is."""

from __future__ import annotations

import numpy as np
import pytest

from edgectl_agent.worker.comparison import (
    compare_actions,
)
from edgectl_protos.domain.errors import NonFiniteError, ShapeError
from edgectl_testkit.compared_actions import (
    FP32,
    changed,
    expected,
    failures,
    moves,
)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_no_finite_numbers_are_an_error_and_no_figure(value):
    actions = moves().astype(np.float64)
    bad = actions.copy()
    bad[1, 2, 3] = value
    with pytest.raises(NonFiniteError, match="1 of 960 values of the action are not finite here"):
        compare_actions(bad, expected(actions), FP32)
    with pytest.raises(NonFiniteError, match="1 of 960 values of the action are not finite in the golden cases"):
        compare_actions(actions, expected(bad), FP32)


def test_actions_of_another_shape_are_refused():
    actions = moves()
    for found in (actions[:4], actions[:, :10], actions[..., :5], actions.transpose(1, 0, 2)):
        with pytest.raises(ShapeError, match=r"the action is .* here, \[8, 20, 6\] in the golden cases"):
            compare_actions(found, expected(actions), FP32)


def test_an_action_of_several_axes_is_compared_as_one_row():
    actions = moves()
    assert not failures(actions.reshape(8, 20, 2, 3), expected(actions), FP32)


def test_one_case_is_enough_to_refuse_and_to_pass():
    actions = moves(cases=1)
    assert not failures(actions, expected(actions), FP32)
    assert failures(changed(actions, 2, lambda values: values * 1.02), expected(actions), FP32)


def test_one_number_is_judged_by_its_size():
    actions = np.full((1, 1, 1), 5.0, np.float32)
    assert not failures(actions * np.float32(1.001), expected(actions, use=1), FP32)
    assert failures(actions * np.float32(1.02), expected(actions, use=1), FP32)
