from dataclasses import replace

import numpy as np
import pytest

from edgectl_agent.worker.loop.observer import Observer
from edgectl_agent.worker.loop.schedule import Grid
from edgectl_agent.worker.loop.sources import open_source
from edgectl_agent.worker.program import Executor
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import ShapeError
from edgectl_protos.domain.loop import OnEnd, SourceKind, SourceSpec
from edgectl_protos.domain.policy import Feature, FeatureKind
from edgectl_protos.domain.program import Program, Unnormalise
from edgectl_testkit.bundles import CAMERAS, STATE, tiny_policy
from edgectl_testkit.video import write_image, write_video

MS = 1_000_000
TASK = Feature("task", FeatureKind.LANGUAGE, DType.TEXT, ())
TEXT = SourceSpec("task", SourceKind.TEXT, text="stack the cups")
SYNTHETIC = SourceSpec(CAMERAS[0], SourceKind.SYNTHETIC)


@pytest.fixture
def observe(release):
    """An observer of these sources, started; the policy observes what they feed."""

    def make(*specs, history=1):
        features = {feature.name: feature for feature in (*tiny_policy().observations, TASK)}
        observed = tuple(features[spec.feature] for spec in specs)
        state = Feature(STATE, FeatureKind.STATE, DType.FLOAT32, (3,))
        policy = replace(
            tiny_policy(),
            observations=observed if state in observed else (*observed, state),
            action=replace(state, name="action", kind=FeatureKind.ACTION),
            chunk_size=history,
            n_action_steps=1,
            history=history,
        )
        program = Program(
            (TensorSpec("action", DType.FLOAT32, (history, 3)),),
            (Unnormalise("post", STATE, "action", "same"),),
            action="action",
            arrays="arrays.npz",
        )
        arrays = {"same.offset": np.zeros(3, np.float32), "same.scale": np.ones(3, np.float32)}
        executor = Executor(policy, program, arrays, {}, path_of=release.path)
        sources = [open_source(spec, features[spec.feature], release) for spec in specs]
        for source in sources:
            source.start(repeat=True)
        return Observer(sources, policy, executor), sources

    return make


@pytest.fixture
def large_video(release):
    write_video(release.directory / "large.mp4", [100, 110], size=(16, 20))
    return SourceSpec(CAMERAS[0], SourceKind.VIDEO, path="large.mp4", on_end=OnEnd.REPEAT)


@pytest.fixture
def states(release):
    """Frame i of the recorded state is [i, i, i]."""
    np.save(release.directory / "state.npy", np.repeat(np.arange(9, dtype=np.float32), 3).reshape(9, 3))
    return SourceSpec(STATE, SourceKind.RECORDED, path="state.npy")


# --- size and type ---------------------------------------------------------------------------------------------------


def test_a_frame_of_another_size_is_refused_with_the_setting_that_helps(observe, large_video):
    observer, _ = observe(large_video)
    assert not observer.resizes
    with pytest.raises(ShapeError, match=r"images.top is uint8\[8, 10, 3\].*got uint8\[16, 20, 3\]") as caught:
        observer.read(0)
    assert "`resize: true`" in caught.value.hint


def test_with_that_setting_it_is_resized(observe, large_video):
    observer, _ = observe(replace(large_video, resize=True))
    assert observer.resizes
    for level in (100, 110, 100):
        observer.read(0)
        observer.resize()
        frame = observer.observation()[CAMERAS[0]]
        assert (frame.shape, frame.dtype) == ((8, 10, 3), np.uint8)
        assert float(frame.mean()) == pytest.approx(level, abs=3)


def test_only_the_source_that_asks_is_resized(observe, large_video):
    observer, _ = observe(replace(large_video, resize=True), replace(large_video, feature=CAMERAS[1]))
    with pytest.raises(ShapeError, match="images.wrist"):
        observer.read(0)


def test_a_frame_that_has_its_size_is_handed_on_as_it_is(observe):
    observer, (source,) = observe(replace(SYNTHETIC, resize=True))
    observer.read(0)
    observer.resize()
    assert observer.observation()[CAMERAS[0]] is source._frame


def test_a_frame_that_no_resizing_makes_right_is_refused(observe, release):
    np.save(release.directory / "float.npy", np.zeros((2, 8, 10, 3), np.float32))
    observer, _ = observe(SourceSpec(CAMERAS[0], SourceKind.RECORDED, path="float.npy", resize=True))
    observer.read(0)
    with pytest.raises(ShapeError, match=r"got float32\[8, 10, 3\]"):
        observer.resize()


def test_a_state_of_another_size_is_refused_even_where_frames_are_resized(observe, large_video, states, release):
    np.save(release.directory / "state.npy", np.zeros((9, 4), np.float32))
    observer, _ = observe(replace(large_video, resize=True), states)
    with pytest.raises(ShapeError, match=r"state is float32\[3\].*got float32\[4\]") as caught:
        observer.read(0)
    assert caught.value.hint == ""


def test_a_recording_of_another_type_is_refused(observe, states, release):
    np.save(release.directory / "state.npy", np.zeros((9, 3), np.float64))
    observer, _ = observe(states)
    with pytest.raises(ShapeError, match="got float64"):
        observer.read(0)


# --- its spans -------------------------------------------------------------------------------------------------------


def test_its_spans_are_reading_and_where_frames_are_resized_that(observe, large_video):
    for spec, steps in ((SYNTHETIC, ["dec"]), (replace(large_video, resize=True), ["dec", "geo"])):
        assert [site.step for site in observe(spec)[0].sites] == steps


def test_the_note_says_what_is_decoded(observe, large_video, release):
    write_image(release.directory / "i.png", np.zeros((8, 10, 3), np.uint8))
    image = SourceSpec(CAMERAS[1], SourceKind.IMAGE, path="i.png")
    assert observe(SYNTHETIC)[0].sites[0].note == "nothing to decode"
    assert observe(large_video)[0].sites[0].note == "video"
    assert observe(large_video, image)[0].sites[0].note == "image, video"


# --- texts -----------------------------------------------------------------------------------------------------------


def test_an_instruction_is_observed_as_a_text(observe, states):
    observer, _ = observe(states, TEXT)
    observer.read(0)
    text = observer.observation()["task"]
    assert (text.shape, text.dtype.kind, str(text)) == ((), "U", "stack the cups")


def test_an_instruction_does_not_age_and_is_no_new_observation(observe, states):
    # A text that aged would be of 1000 ms still, and one observation.
    observer, sources = observe(states, replace(TEXT, fps=10.0))
    for source in sources:
        source.pace(Grid(1000 * MS, 100.0))
    for at_ms in (1000, 1010, 1020):
        observer.read(at_ms * MS)
    assert observer.oldest_ns == 1020 * MS
    assert observer.distinct == 3


# --- history ---------------------------------------------------------------------------------------------------------


def seen(observer):
    observer.read(0)
    observer.remember()
    return list(observer.observation()[STATE][:, 0])


def test_the_first_observation_fills_the_history_and_each_next_one_enters_at_its_end(observe, states):
    observer, _ = observe(states, history=3)
    assert observer.always
    assert [seen(observer) for _ in range(4)] == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]]


def test_after_a_restart_the_first_observation_fills_it_again(observe, states):
    observer, _ = observe(states, history=3)
    for _ in range(3):
        seen(observer)
    observer.restart()
    assert seen(observer) == [3, 3, 3]


def test_without_a_history_an_observation_is_the_latest_frame(observe, states):
    observer, _ = observe(states)
    assert not observer.always
    observer.read(0)
    observer.read(0)
    assert list(observer.observation()[STATE]) == [1, 1, 1]


def test_resized_frames_are_what_is_remembered_and_a_text_has_no_history(observe, large_video, states):
    observer, _ = observe(replace(large_video, resize=True), states, TEXT, history=2)
    for _ in range(2):
        observer.read(0)
        observer.resize()
        observer.remember()
    found = observer.observation()
    assert found[CAMERAS[0]].shape == (2, 8, 10, 3)
    assert [float(frame.mean()) for frame in found[CAMERAS[0]]] == pytest.approx([100, 110], abs=3)
    assert found["task"].shape == ()
