"""What has classes is judged by the class and not by its error: grippers, whole numbers, texts."""

from __future__ import annotations

import numpy as np
import pytest

from edgectl_agent.worker.comparison import (
    Expected,
    compare_actions,
)
from edgectl_protos.domain.parity import Tolerance
from edgectl_protos.domain.policy import Dimension
from edgectl_testkit.compared_actions import (
    AT_FP32_AND_INT8,
    FP32,
    GRIPPER,
    INT8,
    NAMES,
    changed,
    expected,
    failures,
    figure_of,
    moves,
)


def gripping(low=0.0, high=0.08):
    """The gripper is open or shut, and nothing between."""
    return changed(moves(), GRIPPER, lambda metres: np.where(metres > 0.04, high, low).astype(np.float32))


@AT_FP32_AND_INT8
def test_a_dimension_of_two_values_is_judged_by_its_class_and_not_by_its_error(tolerance):
    actions = gripping()
    found = changed(actions, GRIPPER, lambda metres: 0.01 + 0.75 * metres)
    assert not failures(found, expected(actions), tolerance)
    _, dimensions = compare_actions(found, expected(actions), tolerance)
    assert [one.unequal for one in dimensions] == [None] * GRIPPER + [0]


@AT_FP32_AND_INT8
def test_a_gripper_that_opens_instead_of_shutting_is_refused(tolerance):
    actions = gripping()
    found = changed(actions, GRIPPER, lambda metres: 0.08 - metres)
    wrong = failures(found, expected(actions), tolerance)
    assert {(figure.subject, figure.statistic, figure.at, figure.value) for figure in wrong} >= {
        ("executed", "unequal", "gripper", 1.0),
        ("rest of the chunk", "unequal", "gripper", 1.0),
    }


def test_one_wrong_class_of_many_passes_where_integers_compute_and_not_in_floats():
    actions = gripping()
    found = actions.copy()
    found[2, 3, GRIPPER] = 0.08 - found[2, 3, GRIPPER]
    figure = figure_of(found, expected(actions), "executed", "unequal")
    assert (figure.at, figure.value, figure.limit) == ("gripper", 1 / 64, 0)
    assert not figure.passed
    assert figure_of(found, expected(actions), "executed", "unequal", INT8).passed


def test_a_class_is_only_ever_told_of_a_dimension_that_has_classes():
    assert figure_of(gripping(), expected(gripping()), "executed", "unequal").at == "gripper"


def test_a_dimension_that_says_where_its_classes_meet_is_judged_there():
    actions = moves()
    named = tuple(Dimension(name, 0.04 if name == "gripper" else None) for name in NAMES)
    wanted = expected(actions, dimensions=named)
    squashed = changed(actions, GRIPPER, lambda metres: 0.04 + 0.1 * (metres - 0.04))
    assert not failures(squashed, wanted, FP32)
    crossed = changed(actions, GRIPPER, lambda metres: metres + 0.02)
    share = float(np.mean((crossed[:, :8, GRIPPER] >= 0.04) != (actions[:, :8, GRIPPER] >= 0.04)))
    assert share > 0.02
    assert figure_of(crossed, wanted, "executed", "unequal", INT8).value == share
    assert failures(crossed, wanted, INT8)


def test_two_cases_that_stand_still_have_no_classes():
    actions = np.repeat(moves(cases=2, chunk=1), 20, axis=1)
    found = changed(actions, 1, lambda values: values.mean() + 1.15 * (values - values.mean()))
    assert "lift" in {figure.at for figure in failures(found, expected(actions), INT8)}


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_whole_numbers_are_judged_by_the_share_that_differs(dtype):
    actions = (np.arange(100).reshape(5, 4, 5) % 2).astype(dtype)
    found = actions.copy()
    found[0, 0, 0] ^= True
    for tolerance, passed in ((FP32, False), (INT8, True)):
        figures, dimensions = compare_actions(found, expected(actions, use=4), tolerance)
        assert dimensions == ()
        assert [(figure.statistic, figure.value, figure.passed) for figure in figures] == [("unequal", 0.01, passed)]


# --- texts -----------------------------------------------------------------------------------------------------------


def text_figure(found, wanted, unequal=0.0):
    wanted = np.array(wanted, np.int64)[:, None]
    expectation = Expected(wanted, {}, (), 1, drawn=False, text=True)
    (figure,), dimensions = compare_actions(np.array(found, np.int64), expectation, Tolerance(0.1, 0.1, 0.1, unequal))
    assert dimensions == ()
    return figure


def test_a_text_is_judged_by_its_first_wrong_token():
    wanted = [[5, 6, 7, 8], [1, 2, 3, 4]]
    assert text_figure(wanted, wanted).value == 0
    # What follows a wrong token is wrong, whatever it is.
    figure = text_figure([[5, 6, 7, 8], [1, 9, 3, 4]], wanted)
    assert (figure.value, figure.at, figure.passed) == (3 / 8, "case 2 from token 2", False)


def test_tokens_that_the_reference_can_hardly_tell_apart_are_not_judged():
    figure = text_figure([[5, 6, 0, 0], [1, 2, 3, 4]], [[5, 6, -1, -1], [1, 2, 3, 4]])
    assert (figure.value, figure.passed) == (0, True)
    assert text_figure([[5, 0, 0, 0]], [[5, 6, -1, -1]]).value == 1 / 2
    assert text_figure([[5]], [[-1]]).passed


def test_where_all_tokens_may_differ_they_are_shown_and_not_judged():
    figure = text_figure([[9, 9]], [[1, 2]], unequal=1.0)
    assert (figure.value, figure.limit, figure.passed) == (1.0, None, True)
