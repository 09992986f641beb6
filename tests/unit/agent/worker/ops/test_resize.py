import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgectl_agent.worker.ops.resize import BilinearResizer


def by_hand(frame, height, width):
    """One pixel at a time, in float64, from the definition of half-pixel centres without antialiasing."""
    rows, columns, channels = frame.shape
    result = np.empty((height, width, channels))
    for y in range(height):
        for x in range(width):
            v = max((y + 0.5) * rows / height - 0.5, 0)
            u = max((x + 0.5) * columns / width - 0.5, 0)
            top, left = int(v), int(u)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            upper = frame[top, left] * (1 - (u - left)) + frame[top, right] * (u - left)
            lower = frame[bottom, left] * (1 - (u - left)) + frame[bottom, right] * (u - left)
            result[y, x] = upper * (1 - (v - top)) + lower * (v - top)
    return result


SIZES = st.tuples(st.integers(1, 20), st.integers(1, 20))


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, st.integers(0, 2**31))
def test_agrees_with_the_formula_at_every_pair_of_sizes(source, target, seed):
    frame = np.random.default_rng(seed).integers(0, 256, (*source, 3), dtype=np.uint8)
    found = BilinearResizer((*source, 3), *target)(frame)
    assert found.dtype == np.uint8
    # Half a level is the rounding to uint8.
    assert np.abs(found - by_hand(frame.astype(float), *target)).max() <= 0.5 + 1e-3


def test_the_same_size_changes_nothing():
    frame = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(BilinearResizer(frame.shape, 7, 9)(frame), frame)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # No antialiasing: half the pixels of a fourfold reduction are never looked at.
        ([0, 10, 20, 30, 40, 50, 60, 70], [15, 55]),
        ([0, 100], [0, 25, 75, 100]),
    ],
)
def test_known_rows(source, expected):
    frame = np.repeat(np.array(source, np.uint8)[None, :, None], 3, axis=2)
    found = BilinearResizer(frame.shape, 1, len(expected))(frame)
    assert list(found[0, :, 0]) == expected


def test_a_result_is_not_overwritten_by_the_next_one():
    resizer = BilinearResizer((4, 4, 3), 2, 2)
    first = resizer(np.zeros((4, 4, 3), np.uint8))
    resizer(np.full((4, 4, 3), 255, np.uint8))
    assert not first.any()
