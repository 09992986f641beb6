import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_agent.worker.loop.schedule import Grid, next_slot
from edgectl_protos.domain.loop import Overrun

RATES = st.one_of(st.sampled_from([24.0, 29.97, 30.0, 60.0, 1000.0]), st.floats(0.1, 10_000))
SLOTS = st.integers(0, 2_000_000)


@given(RATES, SLOTS)
def test_a_slot_is_the_latest_at_its_own_moment_and_not_before(rate, slot):
    grid = Grid(123_456_789, rate)
    assert grid.latest(grid.at(slot)) == slot
    assert grid.latest(grid.at(slot + 1) - 1) == slot


@given(RATES, SLOTS, st.integers(0, 10**10))
def test_skip_serves_the_first_slot_that_is_not_past(rate, previous, late_ns):
    grid = Grid(0, rate)
    now = grid.at(previous) + late_ns
    slot = next_slot(grid, previous, now, Overrun.SKIP)
    assert slot > previous
    assert grid.at(slot) >= now
    assert slot == previous + 1 or grid.at(slot - 1) < now


@given(RATES, SLOTS, st.integers(0, 10**10))
def test_burst_leaves_no_slot_out(rate, previous, late_ns):
    grid = Grid(0, rate)
    assert next_slot(grid, previous, grid.at(previous) + late_ns, Overrun.BURST) == previous + 1


@pytest.mark.parametrize("rate", [30.0, 29.97])
def test_ticks_and_frames_of_one_rate_never_drift_apart(rate):
    ticks, frames = Grid(0, rate), Grid(0, rate)
    assert all(frames.latest(ticks.at(slot)) == slot for slot in range(0, 1_000_000, 997))
