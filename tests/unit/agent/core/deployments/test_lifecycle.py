"""The rules of the state machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_agent.core.deployments import lifecycle
from edgectl_agent.core.deployments.lifecycle import Done, Failed, Job, Restarted, Undo, after
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.deployment import TERMINAL, TRANSITIONS, Deployment, Failure, State
from edgectl_protos.domain.device import ComponentFacts
from edgectl_protos.domain.errors import InternalError

NEW, OLD = Digest("aa" * 32), Digest("bb" * 32)
WHY = Failure("worker_crashed", "it died")
FACTS = ComponentFacts("act", "onnxrt", "1.32.0", "fp32", "fp32", "CPUExecutionProvider")
MOVING = set(State) - TERMINAL


def deployment(state: State, *, transitions: int = 0) -> Deployment:
    return Deployment("d-1", NEW, "tiny", state, "alice", 1.0, 1.0, transitions=transitions)


def test_every_state_that_does_not_rest_has_a_way_forward_and_a_way_back():
    assert set(lifecycle.FORWARD) == MOVING
    assert set(lifecycle.WAY_BACK) == MOVING | {State.COMMITTED}


@pytest.mark.parametrize("table", [lifecycle.FORWARD, lifecycle.WAY_BACK])
def test_the_tables_are_within_the_transitions_of_the_domain(table):
    assert all(to in TRANSITIONS[come_from] for come_from, to in table.items())


def test_a_deployment_without_trouble_is_committed():
    current = deployment(State.PLANNED)
    while current.state not in TERMINAL:
        current = after(current, Done(), now_s=2.0)
    assert (current.state, current.failure) == (State.COMMITTED, None)


@pytest.mark.parametrize("state", sorted(MOVING, key=lambda state: state.value))
def test_trouble_in_any_state_leads_to_rest_with_the_reason_kept(state):
    current = after(deployment(state), Failed(WHY), now_s=2.0)
    while current.state not in TERMINAL:
        current = after(current, Done(), now_s=3.0)
    assert current.state is not State.COMMITTED
    assert current.failure == WHY


def test_what_a_job_found_is_kept():
    found = after(deployment(State.PARITY), Done("", (), (FACTS,), OLD), now_s=2.0)
    kept = after(found, Done(), now_s=3.0)
    assert (kept.components, kept.previous, kept.changed_s) == ((FACTS,), OLD, 3.0)


@pytest.mark.parametrize("state", [State.FAILED, State.ROLLED_BACK, State.INCONSISTENT])
def test_a_resting_deployment_takes_no_event(state):
    with pytest.raises(InternalError, match="no such way"):
        after(deployment(state), Done(), now_s=2.0)


def test_a_person_can_undo_what_is_committed_only():
    undone = after(deployment(State.COMMITTED), Undo("bob"), now_s=2.0)
    assert undone.state is State.ROLLING_BACK
    assert undone.failure is not None
    assert "bob" in undone.failure.message


RESTART = {
    State.PLANNED: State.STAGING,
    State.STAGING: State.STAGING,
    State.VERIFIED: State.VERIFIED,
    State.BUILDING: State.BUILDING,
    State.PARITY: State.PARITY,
    State.WAIT_WINDOW: State.WAIT_WINDOW,
    State.PROBATION: State.ROLLING_BACK,
    State.ROLLING_BACK: State.ROLLING_BACK,
} | {state: state for state in TERMINAL}


@pytest.mark.parametrize("state", RESTART)
def test_a_restart_has_one_answer_in_each_state(state):
    for current in (NEW, OLD, None):
        assert after(deployment(state), Restarted(current), now_s=2.0).state is RESTART[state]


def test_a_restart_while_activating_believes_the_link():
    assert after(deployment(State.ACTIVATING), Restarted(NEW), now_s=2.0).state is State.PROBATION
    assert after(deployment(State.ACTIVATING), Restarted(OLD), now_s=2.0).state is State.ROLLING_BACK
    assert after(deployment(State.ACTIVATING), Restarted(None), now_s=2.0).state is State.ROLLING_BACK


def test_what_was_proved_before_a_restart_is_proved_again():
    proof = (Job.VERIFY, Job.LAY_OUT, Job.BUILD, Job.PROVE)
    assert lifecycle.jobs_to_do(State.WAIT_WINDOW, restarted=True) == proof
    assert lifecycle.jobs_to_do(State.BUILDING, restarted=True) == (Job.VERIFY, Job.LAY_OUT, Job.BUILD)
    assert lifecycle.jobs_to_do(State.WAIT_WINDOW, restarted=False) == ()
    assert lifecycle.jobs_to_do(State.PROBATION, restarted=True) == (Job.SMOKE,)


def test_only_what_changed_nothing_can_be_cancelled():
    cancellable = {state for state in State if lifecycle.may_be_cancelled(state)}
    assert cancellable == {
        State.PLANNED,
        State.STAGING,
        State.VERIFIED,
        State.BUILDING,
        State.PARITY,
        State.WAIT_WINDOW,
    }


def test_a_device_that_dies_again_and_again_in_one_state_gives_up():
    current = deployment(State.PARITY)
    for _ in range(lifecycle.MAX_TRANSITIONS):
        current = after(current, Restarted(OLD), now_s=2.0)
    assert current.state is State.PARITY
    given_up = after(current, Restarted(OLD), now_s=3.0)
    assert given_up.state is State.FAILED
    assert given_up.failure is not None
    assert "gave up" in given_up.failure.message


events = st.one_of(st.just(Done()), st.just(Failed(WHY)), st.builds(Restarted, st.sampled_from([NEW, OLD, None])))


@given(st.lists(events, max_size=120))
def test_any_course_of_events_comes_to_rest_within_the_bound(course):
    current = deployment(State.PLANNED)
    for event in course:
        if current.state in TERMINAL:
            break
        following = after(current, event, now_s=2.0)
        assert following.state is current.state or following.state in TRANSITIONS[current.state]
        assert following.transitions == current.transitions + 1
        current = following
    # One way back and its end may follow the last allowed restart, and so may the forward states.
    assert current.transitions <= lifecycle.MAX_TRANSITIONS + len(State)
