"""What holds of all actions."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgectl_agent.worker.comparison import (
    compare_actions,
)
from edgectl_protos.domain.parity import Tolerance
from edgectl_testkit.compared_actions import (
    INT8,
    NAMES,
    expected,
    failures,
    figure_of,
)

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4))
ACTIONS = SHAPES.flatmap(lambda shape: arrays(np.float64, shape, elements=st.floats(-1e6, 1e6)))
NOTHING_ALLOWED = Tolerance(0.0, 0.0, 0.0, 0.0)


@settings(deadline=None)
@given(ACTIONS, st.data())
def test_what_is_expected_passes_whatever_it_is(actions, data):
    other = data.draw(arrays(np.float64, actions.shape, elements=st.floats(-1e6, 1e6)))
    use = data.draw(st.integers(1, actions.shape[1]))
    wanted = expected(actions, use=use, drawn=data.draw(st.booleans()), another_observation=other)
    assert not failures(actions.copy(), wanted, NOTHING_ALLOWED)


@settings(deadline=None)
@given(ACTIONS, st.data())
def test_twice_the_limit_in_any_one_dimension_fails_and_names_it(actions, data):
    use = data.draw(st.integers(1, actions.shape[1]))
    index = data.draw(st.integers(0, actions.shape[2] - 1))
    wanted = expected(actions, use=use)
    _, dimensions = compare_actions(actions, wanted, INT8)
    assume(dimensions[index].unequal is None)
    size = np.abs(actions[..., index]).max()
    limit = INT8.rmse * dimensions[index].scale + 1e-6 * size + 1e-7
    found = actions.copy()
    signs = data.draw(arrays(np.int8, actions[:, :use, index].shape, elements=st.sampled_from([-1, 1])))
    found[:, :use, index] += 2 * limit * signs
    assert figure_of(found, wanted, "executed", tolerance=INT8).at == NAMES[index]
    assert ("executed", "rmse") in {(one.subject, one.statistic) for one in failures(found, wanted, INT8)}


@settings(deadline=None)
@given(ACTIONS, st.data())
def test_half_the_limit_in_every_dimension_is_within_it(actions, data):
    wanted = expected(actions, use=data.draw(st.integers(1, actions.shape[1])))
    _, dimensions = compare_actions(actions, wanted, INT8)
    scale = np.array([0 if one.unequal is not None else one.scale for one in dimensions])
    signs = data.draw(arrays(np.int8, actions.shape, elements=st.sampled_from([-1, 1])))
    wrong = failures(actions + 0.5 * INT8.rmse * scale * signs, wanted, INT8)
    assert {figure.statistic for figure in wrong} <= {"share"}
