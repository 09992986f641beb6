from dataclasses import replace

import numpy as np
import pytest

from edgectl_agent.worker.ops.unnormalise import Unnormaliser
from edgectl_protos.domain.errors import NonFiniteError, ShapeError, StatisticsError
from edgectl_protos.domain.loop import Processing
from edgectl_testkit.bundles import ACTION_DIM, CHUNK, tiny_arrays, tiny_policy


def outputs(value=1.0, shape=(1, CHUNK, ACTION_DIM)):
    return {"action": np.full(shape, value, np.float32)}


def test_actions_come_back_in_the_units_of_the_robot():
    actions = Unnormaliser(tiny_policy(), tiny_arrays())(outputs(3.0))
    assert actions.shape == (CHUNK, ACTION_DIM)
    assert (actions == 7).all()


@pytest.mark.parametrize("post", [(), (Processing("action", "MEAN_STD", folded=True),)])
def test_without_processing_of_ours_the_output_is_copied(post):
    raw = outputs(3.0)
    actions = Unnormaliser(replace(tiny_policy(), post=post), {})(raw)
    raw["action"][:] = 0
    assert (actions == 3).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_a_number_is_refused(value):
    raw = outputs()
    raw["action"][0, 1, 1] = value
    with pytest.raises(NonFiniteError, match="1 of 8 values of 'action'"):
        Unnormaliser(tiny_policy(), tiny_arrays())(raw)


def test_an_output_of_another_size_is_refused():
    with pytest.raises(ShapeError, match=r"\[1, 3, 2\].*\[4, 2\]"):
        Unnormaliser(tiny_policy(), tiny_arrays())(outputs(shape=(1, 3, 2)))


def test_missing_statistics_of_the_action_are_refused():
    with pytest.raises(StatisticsError, match=r"post\.action\.mul"):
        Unnormaliser(tiny_policy(), {})


def test_a_bare_graph_may_have_free_dimensions_and_no_batch():
    policy = tiny_policy()
    bare = replace(policy, chunk_size=1, post=(), action=replace(policy.action, shape=(-1, 2)))
    assert Unnormaliser(bare, {})(outputs(shape=(1, 5, 2))).shape == (1, 5, 2)
    assert Unnormaliser(bare, {})(outputs(shape=(5, 2))).shape == (1, 5, 2)
