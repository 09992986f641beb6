"""What a policy says of itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_protos.domain.errors import ProgramError
from edgectl_protos.domain.policy import Dimension
from edgectl_testkit.checked_program import POLICY


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_action_steps": 6}, "6 actions of a chunk of 5"),
        ({"n_action_steps": 0}, "0 actions of a chunk"),
        ({"history": 0}, "a history of 0"),
        ({"observations": POLICY.observations[:1] * 2}, "two observations have one name: left, left"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ProgramError, match=message):
        replace(POLICY, **change)


def test_a_history_is_a_leading_dimension_of_what_is_observed():
    state = POLICY.observation("state")
    assert POLICY.observed(state).shape == (6,)
    assert replace(POLICY, history=2).observed(state).shape == (2, 6)


@pytest.mark.parametrize("shape", [(6,), (2, 3), (-1,), (-1, 3)])
def test_named_dimensions_are_those_of_the_flattened_action(shape):
    names = tuple(Dimension(f"joint {index}") for index in range(6))
    action = replace(POLICY.action, shape=shape)
    assert replace(POLICY, action=action, dimensions=names).dimensions == names
    assert replace(POLICY, action=action).dimensions == ()


@pytest.mark.parametrize("count", [1, 5, 7])
def test_dimensions_of_another_number_are_refused(count):
    names = tuple(Dimension(f"joint {index}") for index in range(count))
    with pytest.raises(ProgramError, match=f"{count} dimensions are named, of an action of 6"):
        replace(POLICY, dimensions=names)
