from __future__ import annotations

import numpy as np
import pytest

from edgectl_agent.worker.ops.resize import BilinearResizer
from edgectl_converters import observations
from edgectl_converters.job import CALIBRATION_CASES, GOLDEN_CASES
from edgectl_converters.observations import coinciding, find_footage, match_footage, origins_of, words_for
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
    return observations.observe(policy(*features), footage, spread, count=count, seed=seed, **more).arrays


def test_synthetic_observations_follow_their_seed():
    one = observe((FRAME, STATE), None, {}, count=3, seed=1)
    again = observe((FRAME, STATE), None, {}, count=3, seed=1)
    other = observe((FRAME, STATE), None, {}, count=3, seed=2)
    for name in (FRAME.name, STATE.name):
        np.testing.assert_array_equal(one[name], again[name])
        assert not np.array_equal(one[name], other[name])
    assert one[FRAME.name].dtype == np.uint8
    assert one[FRAME.name].shape == (3, 48, 64, 3)


def test_synthetic_frames_look_like_scenes():
    frames = observe((FRAME,), None, {}, count=16, seed=0)[FRAME.name].astype(float)
    assert (frames.min(), frames.max()) == (0, 255)
    # Every part of the byte range is seen, dim and bright frames among them.
    shares = np.histogram(frames, bins=8, range=(0, 256))[0] / frames.size
    assert shares.min() > 0.02
    means = frames.mean(axis=(1, 2, 3))
    assert means.max() - means.min() > 60
    # Neighbours are alike, as no noise has it, and yet there are edges.
    steps = np.abs(np.diff(frames, axis=2))
    assert np.median(steps) < 16
    assert np.quantile(steps, 0.99) > 80


@pytest.mark.parametrize("shape", [(48, 64, 3), (3, 48, 64), (1, 48, 64), (2, 3, 48, 64)])
@pytest.mark.parametrize("dtype", [DType.UINT8, DType.FLOAT32, DType.UINT16])
def test_frames_of_bare_graphs_are_scenes_in_the_range_that_is_known(shape, dtype):
    feature = Feature("images", FeatureKind.TENSOR, dtype, shape)
    values = observe(
        (feature,), None, {}, count=8, seed=0, ranges={"images": (-10.0, 245.0)} if dtype is DType.FLOAT32 else {}
    )
    found = values["images"].astype(float)
    assert found.shape == (8, *shape)
    low, high = {DType.UINT8: (0, 255), DType.FLOAT32: (-10, 245), DType.UINT16: (0, 65_535)}[dtype]
    assert (found.min(), found.max()) == (low, high)
    axis = -2 if shape[-1] == 3 else -1
    assert np.median(np.abs(np.diff(found, axis=axis))) < 0.1 * (high - low)


def test_a_history_of_synthetic_frames_is_one_scene_moved():
    found = observations.observe(policy(FRAME, history=3), None, {}, count=2, seed=4).arrays[FRAME.name].astype(float)
    same = np.abs(found[:, 1].mean(axis=(1, 2)) - found[:, 0].mean(axis=(1, 2))).max()
    other = np.abs(found[1, 0].mean(axis=(0, 1)) - found[0, 0].mean(axis=(0, 1))).max()
    assert same < 1 < other


def test_a_joint_that_never_moved_stays_where_it_was():
    spread = {STATE.name: ((0.5, 3.0, -2.0), (1e-8, 1.0, 1e-8))}
    values = observe((STATE,), None, spread, count=32, seed=0)[STATE.name]
    np.testing.assert_allclose(values[:, 0], 0.5, atol=1e-6)
    np.testing.assert_allclose(values[:, 2], -2.0, atol=1e-6)


def test_synthetic_states_follow_the_statistics():
    offset, scale = (0.0, 5.0, -2.0), (0.1, 1.0, 2.0)
    values = observe((STATE,), None, {STATE.name: (offset, scale)}, count=2000, seed=0)[STATE.name]
    normalised = (values - np.float32(offset)) / np.float32(scale)
    np.testing.assert_allclose(normalised.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(normalised.std(axis=0), 1, atol=0.1)


@pytest.mark.parametrize("dtype", [DType.INT64, DType.BOOL, DType.FLOAT32])
def test_what_has_no_scale_is_the_same_in_every_case(dtype):
    feature = Feature("axes", FeatureKind.TENSOR, dtype, (2,))
    values = observe((feature,), None, {"axes": ((1.0, 0.0), (0.0, 0.0))}, count=3, seed=0)["axes"]
    assert values.tolist() == [[1, 0]] * 3
    assert values.dtype == np.dtype(dtype.value)


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
    found = observations.observe(policy(STATE, FRAME, history=2), tmp_path, {}, count=3, seed=0).arrays
    np.testing.assert_array_equal(found[STATE.name][:, :, 0], [[0, 3], [12, 15], [21, 24]])
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
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), [40, 120, 200], atol=4)


def test_a_video_shorter_than_the_count_gives_frames_again(tmp_path):
    write_video(tmp_path / f"{FRAME.name}.mp4", [50, 200])
    assert len(observe((FRAME,), tmp_path, {}, count=8, seed=0)[FRAME.name]) == 8


def test_arrays_and_images_are_footage_too(tmp_path):
    np.save(tmp_path / f"{STATE.name}.npy", np.arange(30, dtype=np.float64).reshape(10, 3))
    pixels = np.full((48, 64, 3), 77, np.uint8)
    write_image(tmp_path / f"{FRAME.name}.png", pixels)
    found = observe((FRAME, STATE), tmp_path, {}, count=2, seed=0)
    np.testing.assert_array_equal(found[STATE.name], np.float32([[6, 7, 8], [21, 22, 23]]))
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


def test_calibration_and_proof_take_different_frames():
    for frames in (64, 65, 100, 777, 100_000):
        assert not coinciding(frames, GOLDEN_CASES, CALIBRATION_CASES)
    assert coinciding(12, GOLDEN_CASES, CALIBRATION_CASES)


def test_how_long_the_footage_is_is_told(tmp_path):
    np.save(tmp_path / f"{STATE.name}.npy", np.zeros((10, 3), np.float32))
    write_video(tmp_path / f"{FRAME.name}.mp4", [1, 2, 3])
    found = observations.observe(policy(STATE, FRAME), tmp_path, {}, count=2, seed=0)
    assert found.frames == {STATE.name: 10, FRAME.name: 3}


def test_a_camera_of_another_size_is_resized_as_on_the_device(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (101, 77, 3), dtype=np.uint8)
    write_image(tmp_path / f"{FRAME.name}.png", pixels)
    found = observe((FRAME,), tmp_path, {}, count=1, seed=0, resized=frozenset({FRAME.name}))[FRAME.name]
    np.testing.assert_array_equal(found[0], BilinearResizer(pixels.shape, 48, 64)(pixels))


def test_a_video_of_bytes_feeds_no_input_of_floats(tmp_path):
    feature = Feature("images", FeatureKind.TENSOR, DType.FLOAT32, (48, 64, 3))
    write_video(tmp_path / "images.mp4", [1, 2])
    with pytest.raises(ShapeError, match="frames of bytes, and the policy takes float32") as caught:
        observe((feature,), tmp_path, {}, count=1, seed=0)
    assert "images.npy" in caught.value.hint
    as_bytes = Feature("images", FeatureKind.TENSOR, DType.UINT8, (48, 64, 3))
    assert observe((as_bytes,), tmp_path, {}, count=1, seed=0)["images"].shape == (1, 48, 64, 3)


RAW = Feature("obs", FeatureKind.TENSOR, DType.FLOAT32, (4,))
FLOATS = Feature("images", FeatureKind.TENSOR, DType.FLOAT32, (3, 48, 64))
INDEX = Feature("step", FeatureKind.TENSOR, DType.INT64, (1,))


def test_what_is_recorded_and_what_is_synthetic_is_said_by_feature():
    features = policy(FRAME, STATE, RAW, FLOATS, INDEX)
    words = words_for(origins_of(features, {FRAME.name}, {}, {}))
    assert words == "top recorded; state, step synthetic; obs, images synthetic, unproved range"
    known = origins_of(features, (), {"obs": ((0.0,) * 4, (1.0,) * 4)}, {"images": (0.0, 255.0)})
    assert words_for(known) == "synthetic"
    assert words_for(origins_of(features, [one.name for one in features.observations], {}, {})) == "recorded"


@pytest.mark.parametrize("files", [[], ["camera_front.mp4", "joints.npy"]])
def test_footage_in_which_nothing_matches_is_refused_with_what_it_has_and_what_is_wanted(tmp_path, files):
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(
        SourceError, match=r"wanted observation\.images\.top\.mp4, observation\.state\.npy, task\.txt"
    ) as caught:
        match_footage(policy(FRAME, STATE, TASK), tmp_path)
    assert (", ".join(files) or "nothing") in caught.value.message


def test_an_instruction_alone_is_footage_of_a_policy_that_takes_one(tmp_path):
    (tmp_path / "task.txt").write_text("sort")
    assert match_footage(policy(STATE, TASK), tmp_path) == {}
    with pytest.raises(SourceError, match="nothing in"):
        match_footage(policy(STATE), tmp_path)


@pytest.mark.parametrize("name", ["/actor/obs", "a\0b", "n" * 300])
def test_names_of_tensors_never_leave_the_folder(tmp_path, name):
    assert find_footage(tmp_path, name) is None
    np.save(tmp_path / "_actor_obs.npy", np.zeros((2, 4), np.float32))
    assert (find_footage(tmp_path, name) is not None) == (name == "/actor/obs")


def test_footage_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no footage"):
        observe((STATE,), tmp_path / "absent", {}, count=1, seed=0)
