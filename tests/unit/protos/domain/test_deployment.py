"""The transition table: every state has its way out, and rest is rest."""

from __future__ import annotations

from edgectl_protos.domain.deployment import TERMINAL, TRANSITIONS, State


def reachable(start):
    seen, pending = {start}, [start]
    while pending:
        for state in TRANSITIONS[pending.pop()] - seen:
            seen.add(state)
            pending.append(state)
    return seen


def test_every_state_has_a_row():
    assert set(TRANSITIONS) == set(State)


def test_every_state_is_reached_from_planned():
    assert reachable(State.PLANNED) == set(State)


def test_every_moving_state_can_fail_or_roll_back():
    for state in set(State) - TERMINAL - {State.ROLLING_BACK}:
        assert TRANSITIONS[state] & {State.FAILED, State.ROLLING_BACK}, state


def test_nothing_fails_quietly_once_activation_began():
    for state in (State.ACTIVATING, State.PROBATION, State.COMMITTED):
        assert State.FAILED not in reachable(state)


def test_only_a_committed_release_can_leave_rest_and_only_by_rolling_back():
    assert {state: TRANSITIONS[state] for state in TERMINAL if TRANSITIONS[state]} == {
        State.COMMITTED: {State.ROLLING_BACK}
    }


def test_parity_lies_on_every_way_to_activation():
    without_parity = {s: n - {State.PARITY} for s, n in TRANSITIONS.items()}
    seen, pending = {State.PLANNED}, [State.PLANNED]
    while pending:
        for state in without_parity[pending.pop()] - seen:
            seen.add(state)
            pending.append(state)
    assert State.ACTIVATING not in seen
