"""Policies that draw noise are judged by the effect of what they observe."""

from __future__ import annotations

import numpy as np
import pytest

from edgectl_agent.worker.comparison import (
    ANOTHER_OBSERVATION,
    compare_actions,
)
from edgectl_testkit.compared_actions import (
    DIM,
    INT8,
    expected,
    failures,
    noise,
)


def drawing():
    """Noise makes most of these actions, what is observed a tenth; and the actions for the observation of another."""
    rng = np.random.default_rng(3)
    drawn = rng.standard_normal((8, 20, DIM))
    seen = rng.standard_normal((8, 1, DIM)) * 0.1
    return drawn + seen, drawn + np.roll(seen, -1, axis=0)


def test_where_noise_makes_most_of_a_chunk_errors_are_judged_by_the_effect_of_the_observation():
    actions, other = drawing()
    found = actions + noise(actions, 0.05)
    contrast = {ANOTHER_OBSERVATION.replace(" ", "_"): other}
    assert not failures(found, expected(actions, **contrast), INT8)
    wrong = failures(found, expected(actions, drawn=True, **contrast), INT8)
    assert {(figure.subject, figure.statistic) for figure in wrong} >= {("executed", "rmse")}
    _, dimensions = compare_actions(found, expected(actions, drawn=True, **contrast), INT8)
    for index, one in enumerate(dimensions):
        effect = np.sqrt(np.mean((other - actions)[..., index] ** 2) / 2)
        assert one.effect == one.scale == pytest.approx(effect)
        assert one.deviation == pytest.approx(actions[..., index].std())


def test_the_effect_is_told_also_where_errors_are_judged_by_the_deviation():
    actions, other = drawing()
    _, dimensions = compare_actions(actions, expected(actions, **{ANOTHER_OBSERVATION.replace(" ", "_"): other}), INT8)
    assert all(one.scale == one.deviation and one.effect < one.deviation / 2 for one in dimensions)
    _, dimensions = compare_actions(actions, expected(actions, drawn=True), INT8)
    assert all(one.scale == one.deviation and one.effect is None for one in dimensions)


def test_what_no_observation_moves_is_judged_by_its_deviation():
    actions, _ = drawing()
    contrast = {ANOTHER_OBSERVATION.replace(" ", "_"): actions.copy()}
    _, dimensions = compare_actions(actions, expected(actions, drawn=True, **contrast), INT8)
    assert all(one.effect == 0 and one.scale == one.deviation for one in dimensions)
