import numpy as np
import pytest

from edgectl_agent.worker.ops.normalise import normaliser, unnormaliser
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import ProgramError, StatisticsError
from edgectl_protos.domain.program import Normalise, Unnormalise

PLANES = Normalise("frame", "cam", "x", "pre.cam", planes=True)
ELEMENTS = Normalise("state", "state", "x", "pre.state")
BACK = Unnormalise("post", "chunk", "action", "post.action")
ARRAYS = {
    "pre.cam.offset": np.array([10, 20, 30], np.float32).reshape(3, 1, 1),
    "pre.cam.scale": np.array([2, 4, 8], np.float32),
    "pre.state.offset": np.array([0, 0.5, 1], np.float32),
    "pre.state.scale": np.array([1, 2, 3], np.float32),
    "post.action.offset": np.array([1, -1], np.float32),
    "post.action.scale": np.array([2, 0], np.float32),
}


def spec(*shape, dtype=DType.FLOAT32):
    return TensorSpec("any", dtype, shape)


# --- frames ---


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.FLOAT32])
@pytest.mark.parametrize("lead", [(), (1,)])
def test_a_frame_is_scaled_per_channel_and_laid_out_channels_first(dtype, lead):
    frame = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(dtype.value)
    found = normaliser(PLANES, spec(4, 5, 3, dtype=dtype), spec(*lead, 3, 4, 5), ARRAYS)(frame)
    assert (found.dtype, found.shape) == (np.float32, (*lead, 3, 4, 5))
    # Divisors that are powers of two: a multiplication by the reciprocal is then exact.
    expected = (frame.astype(np.float32) - np.float32([10, 20, 30])) / np.float32([2, 4, 8])
    np.testing.assert_array_equal(found.reshape(3, 4, 5), expected.transpose(2, 0, 1))


def test_each_frame_of_a_history_becomes_planes():
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    found = normaliser(PLANES, spec(2, 4, 5, 3, dtype=DType.UINT8), spec(1, 2, 3, 4, 5), ARRAYS)(frames)
    one = normaliser(PLANES, spec(4, 5, 3, dtype=DType.UINT8), spec(3, 4, 5), ARRAYS)
    for at, frame in enumerate(frames):
        np.testing.assert_array_equal(found[0, at], one(frame))


def test_a_result_has_the_same_place_every_time():
    step = normaliser(PLANES, spec(4, 5, 3, dtype=DType.UINT8), spec(3, 4, 5), ARRAYS)
    first = step(np.zeros((4, 5, 3), np.uint8))
    assert step(np.ones((4, 5, 3), np.uint8)) is first


# --- elements ---


@pytest.mark.parametrize("lead", [(), (1,)])
def test_a_state_is_scaled_per_element(lead):
    step = normaliser(ELEMENTS, spec(3), spec(*lead, 3), ARRAYS)
    found = step(np.float32([1, 1.5, 4]))
    assert found.shape == (*lead, 3)
    np.testing.assert_array_equal(found.reshape(-1), np.float32([1, 0.5, 1]))


def test_the_state_of_each_tick_of_a_history_is_scaled_alike():
    found = normaliser(ELEMENTS, spec(2, 3), spec(2, 3), ARRAYS)(np.float32([[1, 1.5, 4], [0, 0.5, 1]]))
    np.testing.assert_array_equal(found, np.float32([[1, 0.5, 1], [0, 0, 0]]))


def test_statistics_may_hold_a_value_for_every_tick_of_a_history():
    arrays = {"pre.state.offset": np.arange(6), "pre.state.scale": np.full((2, 3), 2.0)}
    found = normaliser(ELEMENTS, spec(2, 3), spec(2, 3), arrays)(np.zeros((2, 3), np.float32))
    np.testing.assert_array_equal(found, -np.arange(6, dtype=np.float32).reshape(2, 3) / 2)


@pytest.mark.parametrize("lead", [(), (1,)])
def test_what_the_policy_has_more_than_the_robot_is_zero(lead):
    step = normaliser(ELEMENTS, spec(3), spec(*lead, 5), ARRAYS)
    for _ in range(2):
        found = step(np.float32([1, 1.5, 4]))
        np.testing.assert_array_equal(found.reshape(-1), np.float32([1, 0.5, 1, 0, 0]))


@pytest.mark.parametrize("dtype", [DType.FLOAT64, DType.INT32, DType.UINT8])
def test_values_of_any_type_become_float32(dtype):
    values = np.array([1, 2, 3], dtype.value)
    found = normaliser(ELEMENTS, spec(3, dtype=dtype), spec(3), ARRAYS)(values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [1, 0.75, 2 / 3], rtol=1e-6)


def test_a_deviation_of_nearly_nothing_gives_zero_for_what_never_changes():
    arrays = {"pre.state.offset": np.full(3, 1e6), "pre.state.scale": np.full(3, 1e-8)}
    found = normaliser(ELEMENTS, spec(3), spec(3), arrays)(np.full(3, 1e6, np.float32))
    np.testing.assert_array_equal(found, 0)


def test_a_range_begins_at_its_shift_however_narrow_it_is():
    arrays = {f"pre.state.{part}": np.full(3, value) for part, value in (("offset", 9), ("scale", 1e-9), ("shift", -1))}
    found = normaliser(ELEMENTS, spec(3), spec(3), arrays)(np.full(3, 9, np.float32))
    np.testing.assert_array_equal(found, -1)


# --- actions ---


@pytest.mark.parametrize("source", [(1, 4, 2), (4, 2)])
def test_actions_come_back_in_the_units_of_the_robot(source):
    raw = np.random.default_rng(0).standard_normal(source).astype(np.float32)
    found = unnormaliser(BACK, spec(*source), spec(4, 2), ARRAYS)(raw)
    assert (found.shape, found.dtype) == ((4, 2), np.float32)
    np.testing.assert_array_equal(found, raw.reshape(4, 2) * np.float32([2, 0]) + np.float32([1, -1]))


def test_what_the_component_gave_is_left_as_it_was():
    raw = np.ones((1, 4, 2), np.float32)
    unnormaliser(BACK, spec(1, 4, 2), spec(4, 2), ARRAYS)(raw)
    assert (raw == 1).all()


def test_an_action_that_is_not_a_number_stays_one():
    raw = np.full((4, 2), np.nan, np.float32)
    assert np.isnan(unnormaliser(BACK, spec(4, 2), spec(4, 2), ARRAYS)(raw)).all()


# --- refusals ---


@pytest.mark.parametrize("key", sorted(ARRAYS))
def test_a_missing_statistic_is_refused_by_name(key):
    arrays = {name: value for name, value in ARRAYS.items() if name != key}
    make, *rest = {
        "pre.cam": (normaliser, PLANES, spec(4, 5, 3, dtype=DType.UINT8), spec(3, 4, 5)),
        "pre.state": (normaliser, ELEMENTS, spec(3), spec(3)),
        "post.action": (unnormaliser, BACK, spec(4, 2), spec(4, 2)),
    }[key.rpartition(".")[0]]
    with pytest.raises(StatisticsError, match=key):
        make(*rest, arrays)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"pre.state.offset": np.ones(14), "pre.state.scale": np.ones(14)}, "14 values"),
        ({"pre.state.scale": np.ones(14)}, r"pre\.state\.scale has 14 values where 3"),
        ({"pre.state.scale": np.array([1, np.nan, 1])}, r"pre\.state\.scale holds values that are no finite"),
        ({"pre.state.offset": np.array([1, np.inf, 1])}, r"pre\.state\.offset holds values that are no finite"),
        ({"pre.state.offset": np.array(["a", "b", "c"])}, r"pre\.state\.offset holds values that are no finite"),
        ({"pre.state.scale": np.array([1, 0, 1])}, "holds a 0, and is divided by"),
    ],
)
def test_statistics_that_cannot_be_applied_are_refused(changed, complaint):
    with pytest.raises(StatisticsError, match=complaint):
        normaliser(ELEMENTS, spec(3), spec(3), ARRAYS | changed)


def test_a_channel_that_would_be_divided_by_nothing_is_refused():
    changed = ARRAYS | {"pre.cam.scale": np.zeros(3)}
    with pytest.raises(StatisticsError, match=r"pre\.cam\.scale holds a 0"):
        normaliser(PLANES, spec(4, 5, 3, dtype=DType.UINT8), spec(3, 4, 5), changed)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (spec(3), spec(2)),
        (spec(3), spec(2, 3)),
        (spec(2, 3), spec(3, 3)),
        (spec(3), spec(3, dtype=DType.FLOAT64)),
    ],
)
def test_elements_that_do_not_meet_are_refused(source, target):
    with pytest.raises(ProgramError, match="step 'state' cannot turn"):
        normaliser(ELEMENTS, source, target, ARRAYS)


@pytest.mark.parametrize("target", [spec(4, 5, 3), spec(2, 3, 4, 5), spec(3, 4, 5, dtype=DType.UINT8)])
def test_planes_that_do_not_meet_are_refused(target):
    with pytest.raises(ProgramError, match="step 'frame' cannot turn"):
        normaliser(PLANES, spec(4, 5, 3, dtype=DType.UINT8), target, ARRAYS)


@pytest.mark.parametrize(
    ("source", "target"),
    [(spec(3, 2), spec(4, 2)), (spec(2, 4, 2), spec(4, 2)), (spec(4, 2), spec(4, 2, dtype=DType.FLOAT64))],
)
def test_actions_that_do_not_meet_are_refused(source, target):
    with pytest.raises(ProgramError, match="step 'post' cannot turn"):
        unnormaliser(BACK, source, target, ARRAYS)
