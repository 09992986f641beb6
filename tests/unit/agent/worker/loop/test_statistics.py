import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_agent.worker.loop.schedule import Grid
from edgectl_agent.worker.loop.statistics import Slots, percentiles, slots_of
from edgectl_protos.domain.run import SAMPLE_FLOORS

MS = 1_000_000


@pytest.mark.parametrize(("name", "floor"), SAMPLE_FLOORS.items())
def test_no_percentile_below_its_floor(name, floor):
    assert getattr(percentiles(np.arange(floor - 1)), name) is None
    assert getattr(percentiles(np.arange(floor)), name) is not None


def test_extremes_need_one_sample_and_nothing_needs_none():
    one = percentiles(np.array([2_000_000_000]))
    assert (one.n, one.min, one.max, one.p50) == (1, 2.0, 2.0, None)
    none = percentiles(np.empty(0, np.int64))
    assert (none.n, none.min, none.max) == (0, None, None)


def test_percentiles_are_observed_values_in_seconds():
    found = percentiles(np.arange(1, 101) * 1_000_000_000)
    assert (found.p50, found.p90, found.p95) == (50.0, 90.0, 95.0)


def slots(ran_at, published_ms, total, rate=100.0):
    return slots_of(
        np.array(ran_at), np.array(published_ms) * MS, Grid(0, rate), total, over_ns=round(total * 1e9 / rate)
    )


def test_a_lost_slot_waits_for_the_next_tick_that_ran():
    found = slots([0, 3], [25, 31], 4)
    assert list(found.responses_ns // MS) == [25, 21, 11, 1]
    assert list(found.ran) == [True, False, False, True]


def test_a_lost_slot_is_a_miss_where_its_response_is_late():
    found = slots([0, 3], [25, 31], 4)
    misses = found.misses(20 * MS)
    assert (misses.count, misses.rate, misses.longest_run, misses.skipped) == (2, 0.5, 2, 2)
    assert list(found.starved(100 * MS)) == [False, True, True, False]


def test_slots_after_the_last_tick_are_charged_the_time_to_the_end():
    found = slots([0, 1], [1, 59], 5)
    assert list(found.responses_ns // MS) == [1, 49, 30, 20, 10]
    misses = found.misses(10 * MS)
    # Nothing came for the last one within a period: its response is over it, by however little.
    assert (misses.count, misses.longest_run, misses.skipped) == (4, 4, 3)
    assert int(found.starved(10 * MS).sum()) == 4


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_the_longest_run_is_the_longest_row_of_misses(missed):
    responses = np.where(np.array(missed), 20, 5) * MS
    runs = "".join("x" if miss else " " for miss in missed).split()
    misses = Slots(responses, np.ones(len(missed), bool)).misses(10 * MS)
    assert misses.longest_run == max(map(len, runs), default=0)
    assert misses.count == sum(missed)
