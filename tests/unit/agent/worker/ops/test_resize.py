import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgectl_agent.worker.ops.resize import BilinearResizer, frame_resizer, placed
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import ProgramError
from edgectl_protos.domain.program import Anchor, Fit, Resize


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
    expected = by_hand(frame.astype(float), *target)
    assert np.abs(found - expected).max() <= 0.5 + 1e-3
    unrounded = BilinearResizer((*source, 3), *target, rounded=False)(frame)
    assert unrounded.dtype == np.float32
    np.testing.assert_allclose(unrounded, expected, atol=1e-3)


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


def frame_of(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def spec(*shape, dtype=DType.UINT8):
    return TensorSpec("any", dtype, shape)


STRETCH = Resize("resize", "a", "b")


def test_a_result_is_valid_until_the_next_one_which_has_the_same_place():
    resize = frame_resizer(STRETCH, spec(4, 4, 3), spec(2, 2, 3))
    first = resize(np.zeros((4, 4, 3), np.uint8))
    assert resize(np.full((4, 4, 3), 255, np.uint8)) is first
    assert (first == 255).all()


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.FLOAT32])
def test_the_result_has_the_type_declared_and_is_rounded_only_as_bytes(dtype):
    row = np.repeat(np.array([0, 1], np.uint8)[None, :, None], 3, axis=2)
    found = frame_resizer(STRETCH, spec(1, 2, 3), spec(1, 4, 3, dtype=dtype))(row)
    assert found.dtype == dtype.value
    expected = [0, 0, 1, 1] if dtype is DType.UINT8 else [0, 0.25, 0.75, 1]
    assert found[0, :, 0].tolist() == expected


def test_float_frames_stay_in_their_range():
    frame = np.random.default_rng(0).random((5, 6, 3), np.float32)
    found = frame_resizer(STRETCH, spec(5, 6, 3, dtype=DType.FLOAT32), spec(9, 3, 3, dtype=DType.FLOAT32))(frame)
    np.testing.assert_allclose(found, by_hand(frame, 9, 3), atol=1e-6)


@pytest.mark.parametrize("lead", [(3,), (2, 2)])
def test_every_frame_of_a_history_is_resized(lead):
    frames = frame_of(*lead, 6, 8, 3)
    found = frame_resizer(STRETCH, spec(*lead, 6, 8, 3), spec(*lead, 3, 4, 3))(frames)
    one = frame_resizer(STRETCH, spec(6, 8, 3), spec(3, 4, 3))
    assert found.shape == (*lead, 3, 4, 3)
    for at in np.ndindex(*lead):
        np.testing.assert_array_equal(found[at], one(frames[at]))


# --- padding ---


@pytest.mark.parametrize(
    ("source", "target", "anchor", "rows", "columns"),
    [
        ((480, 640), (224, 224), Anchor.CENTRE, (28, 196), (0, 224)),
        ((480, 640), (224, 224), Anchor.BOTTOM_RIGHT, (56, 224), (0, 224)),
        ((640, 480), (224, 224), Anchor.BOTTOM_RIGHT, (0, 224), (56, 224)),
        ((640, 480), (224, 224), Anchor.CENTRE, (0, 224), (28, 196)),
        # An odd rest: one more below and to the right.
        ((3, 7), (8, 7), Anchor.CENTRE, (2, 5), (0, 7)),
        # Never nothing at all.
        ((1, 1000), (10, 10), Anchor.CENTRE, (4, 5), (0, 10)),
    ],
)
def test_a_padded_frame_keeps_its_ratio_and_lies_where_it_is_anchored(source, target, anchor, rows, columns):
    found = placed(*source, *target, Fit.PAD, anchor)
    assert [(part.start, part.stop) for part in found] == [rows, columns]


@pytest.mark.parametrize("anchor", list(Anchor))
@pytest.mark.parametrize("dtype", [DType.UINT8, DType.FLOAT32])
def test_a_padded_frame_is_the_resized_one_on_zeros(anchor, dtype):
    frame = frame_of(6, 8, 3) | 1
    step = Resize("resize", "a", "b", Fit.PAD, anchor)
    resize = frame_resizer(step, spec(6, 8, 3), spec(12, 12, 3, dtype=dtype))
    inner = frame_resizer(STRETCH, spec(6, 8, 3), spec(9, 12, 3, dtype=dtype))(frame)
    top = 3 if anchor is Anchor.BOTTOM_RIGHT else 1
    for _ in range(2):
        found = resize(frame)
        np.testing.assert_array_equal(found[top : top + 9], inner)
        assert not found[:top].any()
        assert not found[top + 9 :].any()


def test_a_frame_that_fits_is_not_padded():
    frame = frame_of(6, 8, 3)
    padded = frame_resizer(Resize("resize", "a", "b", Fit.PAD), spec(6, 8, 3), spec(3, 4, 3))(frame)
    np.testing.assert_array_equal(padded, frame_resizer(STRETCH, spec(6, 8, 3), spec(3, 4, 3))(frame))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (spec(6, 8, 3), spec(6, 8, 1)),
        (spec(2, 6, 8, 3), spec(3, 6, 8, 3)),
        (spec(2, 6, 8, 3), spec(6, 8, 3)),
        (spec(6, 8), spec(6, 8)),
        (spec(0, 8, 3), spec(6, 8, 3)),
        (spec(6, 8, 3), spec(6, 0, 3)),
    ],
)
def test_frames_that_do_not_meet_are_refused(source, target):
    with pytest.raises(ProgramError, match="step 'resize' cannot resize"):
        frame_resizer(STRETCH, source, target)
