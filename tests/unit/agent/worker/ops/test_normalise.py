import numpy as np
import pytest

from edgectl_agent.worker.ops.normalise import normaliser
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import StatisticsError
from edgectl_protos.domain.loop import Feature, FeatureKind, Processing

FRAME = Feature("cam", FeatureKind.VISUAL, DType.UINT8, (4, 5, 3), "cam")
STATE = Feature("state", FeatureKind.STATE, DType.FLOAT32, (3,), "state")
TENSOR = Feature("x", FeatureKind.TENSOR, DType.INT64, (3,), "x")
ARRAYS = {
    "pre.cam.mul": np.array([0.1, 0.2, 0.3], np.float32).reshape(3, 1, 1),
    "pre.cam.add": np.array([-1, -2, -3], np.float32),
    "pre.state.mul": np.array([1, 2, 3], np.float32),
    "pre.state.add": np.array([0, 0.5, 1], np.float32),
}


def spec(shape, dtype=DType.FLOAT32):
    return TensorSpec("any", dtype, shape)


def test_a_frame_is_scaled_per_channel_and_laid_out_channels_first():
    frame = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    found = normaliser(FRAME, Processing("cam", "MEAN_STD"), ARRAYS, spec((1, 3, 4, 5)))(frame)
    assert (found.dtype, found.shape) == (np.float32, (1, 3, 4, 5))
    expected = frame.astype(np.float32) * np.float32([0.1, 0.2, 0.3]) + np.float32([-1, -2, -3])
    np.testing.assert_array_equal(found[0], expected.transpose(2, 0, 1))


def test_a_folded_frame_enters_as_it_is_and_is_not_copied():
    frame = np.zeros((4, 5, 3), np.uint8)
    step = normaliser(FRAME, Processing("cam", "MEAN_STD", folded=True), {}, spec((1, 4, 5, 3)))
    assert step(frame).shape == (1, 4, 5, 3)
    assert np.shares_memory(step(frame), frame)


def test_a_state_is_scaled_per_element():
    step = normaliser(STATE, Processing("state", "MEAN_STD"), ARRAYS, spec((1, 3)))
    np.testing.assert_array_equal(step(np.float32([1, 1, 1])), np.float32([[1, 2.5, 4]]))


def test_a_bare_tensor_gets_a_batch_dimension_only_if_the_graph_has_one():
    values = np.arange(3)
    assert normaliser(TENSOR, None, {}, spec((1, 3)))(values).shape == (1, 3)
    assert normaliser(TENSOR, None, {}, spec((3,)))(values) is values


@pytest.mark.parametrize("key", sorted(ARRAYS))
def test_a_missing_statistic_is_refused_by_name(key):
    feature = FRAME if ".cam." in key else STATE
    arrays = {name: value for name, value in ARRAYS.items() if name != key}
    with pytest.raises(StatisticsError, match=key):
        normaliser(feature, Processing(feature.name, "MEAN_STD"), arrays, spec((1, 3, 4, 5)))


def test_statistics_of_another_size_are_refused():
    arrays = ARRAYS | {"pre.state.mul": np.ones(14, np.float32)}
    with pytest.raises(StatisticsError, match="14 values where state has 3"):
        normaliser(STATE, Processing("state", "MEAN_STD"), arrays, spec((1, 3)))
