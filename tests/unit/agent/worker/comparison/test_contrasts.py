"""Actions that are right for something else, another observation or step, are refused however little they differ."""

from __future__ import annotations

import numpy as np
import pytest

from edgectl_agent.worker.comparison import (
    compare_actions,
)
from edgectl_testkit.compared_actions import (
    AT_FP32_AND_INT8,
    FP32,
    INT8,
    SWAPPED,
    expected,
    failures,
    figure_of,
    moved,
    moves,
    noise,
)


def test_what_another_observation_would_have_done_is_refused_however_little_it_differs():
    actions = moves()
    other = moved(actions)
    wanted = expected(actions, **{SWAPPED: other})
    (figure,) = failures(other, wanted, INT8)
    assert (figure.subject, figure.statistic) == (f"taken for {SWAPPED}", "share")
    assert figure.value == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_noise_of_integers_has_no_share_in_a_contrast(seed):
    actions = moves()
    wanted = expected(actions, **{SWAPPED: moved(actions)})
    found = actions + noise(actions, 0.05, seed=100 + seed)
    assert not failures(found, wanted, INT8)
    assert abs(figure_of(found, wanted, f"taken for {SWAPPED}", "share", INT8).value) < 0.2


def test_the_share_is_how_much_of_the_way_was_gone():
    actions = moves()
    other = moved(actions)
    wanted = expected(actions, **{SWAPPED: other})
    for part in (0.25, 0.75):
        found = actions + np.float32(part) * (other - actions)
        share = figure_of(found, wanted, f"taken for {SWAPPED}", "share", INT8)
        assert (share.value, share.passed) == (pytest.approx(part, abs=1e-3), part < 0.5)


def test_a_contrast_of_the_first_cases_is_compared_with_those():
    actions = moves()
    wanted = expected(actions, **{SWAPPED: moved(actions)[:4]})
    found = actions.copy()
    found[:4] = moved(actions)[:4]
    assert [figure.subject for figure in failures(found, wanted, INT8)] == [f"taken for {SWAPPED}"]
    found = actions.copy()
    found[4:] = moved(actions)[4:]
    assert not failures(found, wanted, INT8)


def test_a_contrast_that_changes_nothing_says_nothing():
    actions = moves()
    figures, _ = compare_actions(actions, expected(actions, **{SWAPPED: actions.copy()}), INT8)
    assert not [figure for figure in figures if figure.subject == f"taken for {SWAPPED}"]


def test_a_contrast_that_drowns_in_the_error_says_nothing_and_the_error_is_refused():
    actions = moves()
    wanted = expected(actions, **{SWAPPED: moved(actions, 0.01)})
    wrong = failures(actions + noise(actions, 0.3), wanted, INT8)
    assert {figure.statistic for figure in wrong} >= {"rmse"}
    assert not [figure for figure in wrong if figure.subject == f"taken for {SWAPPED}"]


def test_a_contrast_is_seen_below_the_error_where_all_cases_go_its_way():
    actions = moves()
    other = moved(actions, 0.02)
    found = other + noise(actions, 0.06)
    (figure,) = failures(found, expected(actions, **{SWAPPED: other}), INT8)
    assert figure.subject == f"taken for {SWAPPED}"
    assert figure.value == pytest.approx(1, abs=0.3)


def test_a_single_case_has_no_share_in_a_contrast():
    actions = moves()[:1]
    figures, _ = compare_actions(actions, expected(actions, **{SWAPPED: moved(actions)}), INT8)
    assert not [figure for figure in figures if figure.statistic == "share"]


@AT_FP32_AND_INT8
@pytest.mark.parametrize(("by", "words"), [(1, "early"), (-1, "late")])
def test_a_chunk_that_is_shifted_by_a_step_is_refused(tolerance, by, words):
    actions = moves()
    steps = np.clip(np.arange(20) + by, 0, 19)
    wrong = {
        (figure.subject, figure.statistic): figure
        for figure in failures(actions[:, steps], expected(actions), tolerance)
    }
    assert wrong[f"a step too {words}", "share"].value == pytest.approx(1, abs=1e-4)
    if tolerance is INT8:
        # So slow a movement that its errors alone would pass.
        assert len(wrong) == 1


@AT_FP32_AND_INT8
@pytest.mark.parametrize("by", [2, 4, -4])
def test_a_chunk_that_is_shifted_by_more_steps_is_refused_too(tolerance, by):
    actions = moves(speed=0.02)
    steps = np.clip(np.arange(20) + by, 0, 19)
    assert "share" in {figure.statistic for figure in failures(actions[:, steps], expected(actions), tolerance)}


def test_a_chunk_of_two_has_no_step_between():
    figures, _ = compare_actions(moves(chunk=2), expected(moves(chunk=2), use=1), FP32)
    assert {figure.statistic for figure in figures} == {"rmse", "worst"}
