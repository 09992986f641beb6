from __future__ import annotations

import numpy as np
import pytest

from edgectl_converters import observations
from edgectl_converters.observations import find_footage
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import ShapeError, SourceError
from edgectl_protos.domain.loop import SourceKind
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy
from edgectl_testkit.video import write_image, write_video

FRAME = Feature("observation.images.top", FeatureKind.VISUAL, DType.UINT8, (48, 64, 3))
STATE = Feature("observation.state", FeatureKind.STATE, DType.FLOAT32, (3,))


def policy(*features, history=1):
    return Policy("p", features, Feature("action", FeatureKind.ACTION, DType.FLOAT32, (2,)), 4, 2, history)


def observe(features, footage, spread, *, count, seed, **more):
    return observations.observe(policy(*features), footage, spread, count=count, seed=seed, **more)


def test_synthetic_observations_follow_their_seed():
    one = observe((FRAME, STATE), None, {}, count=3, seed=1)
    again = observe((FRAME, STATE), None, {}, count=3, seed=1)
    other = observe((FRAME, STATE), None, {}, count=3, seed=2)
    for name in (FRAME.name, STATE.name):
        np.testing.assert_array_equal(one[name], again[name])
        assert not np.array_equal(one[name], other[name])
    assert one[FRAME.name].dtype == np.uint8
    assert one[FRAME.name].shape == (3, 48, 64, 3)


def test_synthetic_frames_are_smooth_and_span_the_range():
    frame = observe((FRAME,), None, {}, count=1, seed=0)[FRAME.name][0].astype(float)
    assert np.abs(np.diff(frame, axis=0)).mean() < 0.2 * frame.std() * 2
    assert frame.max() - frame.min() > 128


def test_synthetic_states_follow_the_statistics():
    offset, scale = (0.0, 5.0, -2.0), (0.1, 1.0, 2.0)
    values = observe((STATE,), None, {STATE.name: (offset, scale)}, count=2000, seed=0)[STATE.name]
    normalised = (values - np.float32(offset)) / np.float32(scale)
    np.testing.assert_allclose(normalised.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(normalised.std(axis=0), 1, atol=0.1)


TASK = Feature("task", FeatureKind.LANGUAGE, DType.TEXT, ())


def test_instructions_are_texts_seeded_examples_unless_there_is_one(tmp_path):
    examples = observe((TASK,), None, {}, count=8, seed=1)["task"]
    assert examples.dtype.kind == "U"
    assert len(set(examples.tolist())) > 1
    np.testing.assert_array_equal(examples, observe((TASK,), None, {}, count=8, seed=1)["task"])
    (tmp_path / "task.txt").write_text("stack the cups\n")
    assert observe((TASK,), tmp_path, {}, count=2, seed=1)["task"].tolist() == ["stack the cups"] * 2
    assert observe((TASK,), tmp_path, {}, count=1, seed=1, task="sort")["task"].tolist() == ["sort"]


def test_an_instruction_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "task.txt").write_bytes(b"\xff\xff")
    with pytest.raises(SourceError, match=r"task\.txt"):
        observe((TASK,), tmp_path, {}, count=1, seed=1)


def test_a_history_is_of_consecutive_frames_oldest_first(tmp_path):
    np.save(tmp_path / f"{STATE.name}.npy", np.arange(30, dtype=np.float32).reshape(10, 3))
    found = observations.observe(policy(STATE, FRAME, history=2), tmp_path, {}, count=3, seed=0)
    np.testing.assert_array_equal(found[STATE.name][:, :, 0], [[0, 0], [9, 12], [24, 27]])
    assert found[FRAME.name].shape == (3, 2, 48, 64, 3)


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.INT8, DType.INT32, DType.INT64, DType.BOOL, DType.FLOAT16])
def test_every_element_type_of_a_graph_input_is_made(dtype):
    feature = Feature("x", FeatureKind.TENSOR, dtype, (4,))
    values = observe((feature,), None, {}, count=2, seed=0)["x"]
    assert values.dtype == np.dtype(dtype.value)
    assert np.isfinite(values.astype(float)).all()


def test_a_scalar_input_is_made():
    feature = Feature("t", FeatureKind.TENSOR, DType.FLOAT32, ())
    assert observe((feature,), None, {}, count=3, seed=0)["t"].shape == (3,)


def test_frames_are_taken_evenly_over_the_whole_video(tmp_path):
    write_video(tmp_path / f"{FRAME.name}.mp4", list(range(0, 250, 10)))
    frames = observe((FRAME,), tmp_path, {}, count=3, seed=0)[FRAME.name]
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), [0, 120, 240], atol=4)


def test_a_video_shorter_than_the_count_gives_frames_again(tmp_path):
    write_video(tmp_path / f"{FRAME.name}.mp4", [50, 200])
    assert len(observe((FRAME,), tmp_path, {}, count=8, seed=0)[FRAME.name]) == 8


def test_arrays_and_images_are_footage_too(tmp_path):
    np.save(tmp_path / f"{STATE.name}.npy", np.arange(30, dtype=np.float64).reshape(10, 3))
    pixels = np.full((48, 64, 3), 77, np.uint8)
    write_image(tmp_path / f"{FRAME.name}.png", pixels)
    found = observe((FRAME, STATE), tmp_path, {}, count=2, seed=0)
    np.testing.assert_array_equal(found[STATE.name], np.float32([[0, 1, 2], [27, 28, 29]]))
    np.testing.assert_array_equal(found[FRAME.name], np.stack([pixels, pixels]))
    assert find_footage(tmp_path, FRAME.name)[1] is SourceKind.IMAGE


def test_a_feature_without_a_file_is_synthetic(tmp_path):
    assert find_footage(tmp_path, STATE.name) is None
    assert observe((STATE,), tmp_path, {}, count=2, seed=0)[STATE.name].shape == (2, 3)


def test_a_camera_of_another_size_is_refused_with_both_sizes(tmp_path):
    write_video(tmp_path / f"{FRAME.name}.mp4", [1, 2], size=(24, 32))
    with pytest.raises(ShapeError, match=r"\[24, 32, 3\].*\[48, 64, 3\]"):
        observe((FRAME,), tmp_path, {}, count=1, seed=0)


@pytest.mark.parametrize("suffix", [".mp4", ".npy", ".png"])
@pytest.mark.parametrize("data", [b"", b"not what it says"])
def test_a_file_that_does_not_decode_is_named(tmp_path, suffix, data):
    feature = STATE if suffix == ".npy" else FRAME
    (tmp_path / f"{feature.name}{suffix}").write_bytes(data)
    with pytest.raises(SourceError, match=feature.name):
        observe((feature,), tmp_path, {}, count=1, seed=0)


def test_an_array_without_frames_is_refused(tmp_path):
    np.save(tmp_path / f"{STATE.name}.npy", np.zeros((0, 3), np.float32))
    with pytest.raises(SourceError, match="no frames"):
        observe((STATE,), tmp_path, {}, count=1, seed=0)


def test_a_pickle_is_never_opened(tmp_path):
    np.save(tmp_path / f"{STATE.name}.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SourceError):
        observe((STATE,), tmp_path, {}, count=1, seed=0)


def test_values_that_are_not_finite_are_refused(tmp_path):
    np.save(tmp_path / f"{STATE.name}.npy", np.full((4, 3), np.nan, np.float32))
    with pytest.raises(SourceError, match="finite"):
        observe((STATE,), tmp_path, {}, count=1, seed=0)


def test_footage_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no footage"):
        observe((STATE,), tmp_path / "absent", {}, count=1, seed=0)
