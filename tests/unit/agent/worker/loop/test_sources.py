import numpy as np
import pytest

from edgectl_agent.worker.loop.schedule import Grid
from edgectl_agent.worker.loop.sources import open_source
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import BundlePathError, ShapeError, SourceError
from edgectl_protos.domain.loop import OnEnd, SourceKind, SourceSpec
from edgectl_protos.domain.policy import Feature, FeatureKind
from edgectl_testkit.bundles import CAMERAS, STATE
from edgectl_testkit.video import write_image, write_video

MS = 1_000_000


def opened(release, kind, feature=STATE, **options):
    known = release.manifest.policy.observation(feature)
    return open_source(SourceSpec(feature, kind, **options), known, release)


@pytest.fixture
def recording(release):
    frames = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.save(release.directory / "state.npy", frames)
    return frames


def test_paced_content_goes_on_with_time_and_says_when_it_was_due(release, recording):
    source = opened(release, SourceKind.RECORDED, path="state.npy", fps=100.0)
    source.start(repeat=False)
    source.pace(Grid(1000 * MS, 50.0))
    seen = []
    # Two reads within one frame time, one just after the next frame, and one two frames later.
    for now in (1000, 1009, 1010.001, 1035):
        seen.append((source.read(round(now * MS))[0], (source.stamp_ns - 1000 * MS) / MS))
    assert seen == [(0, 0), (0, 0), (3, 10), (9, 30)]
    assert (source.distinct, source.unused) == (3, 1)


def test_without_a_rate_of_its_own_a_source_has_the_rate_of_the_loop(release, recording):
    source = opened(release, SourceKind.RECORDED, path="state.npy")
    source.start(repeat=False)
    source.pace(Grid(0, 50.0))
    source.read(39 * MS)
    assert source.stamp_ns == 20 * MS


def test_a_source_faster_than_the_loop_is_shown_at_its_own_speed(release):
    np.save(release.directory / "state.npy", np.repeat(np.arange(30, dtype=np.float32), 3).reshape(30, 3))
    source = opened(release, SourceKind.RECORDED, path="state.npy", fps=300.0)
    source.start(repeat=False)
    source.pace(Grid(0, 100.0))
    seen = []
    for tick in range(10):
        source.skip(tick * 10 * MS)
        seen.append(source.read(tick * 10 * MS)[0])
    assert seen == [3 * tick for tick in range(10)]
    assert (source.distinct, source.unused) == (10, 18)


def test_frames_are_skipped_before_they_are_read_and_not_twice(release, recording):
    source = opened(release, SourceKind.RECORDED, path="state.npy", fps=100.0)
    source.start(repeat=False)
    source.pace(Grid(0, 100.0))
    assert source.read(0)[0] == 0
    for now in (10, 20, 30):
        source.skip(now * MS)
    assert (source.unused, source.read(30 * MS)[0]) == (2, 9)
    with pytest.raises(SourceError, match="ended at frame 4"):
        source.skip(60 * MS)


def test_a_video_goes_on_while_nobody_reads_it(release):
    write_video(release.directory / "v.mp4", [40, 80, 120, 160, 200], size=(8, 10))
    source = opened(release, SourceKind.VIDEO, CAMERAS[0], path="v.mp4", fps=100.0)
    source.start(repeat=True)
    source.pace(Grid(0, 50.0))
    levels = [float(source.read(now * MS).mean()) for now in (0, 20, 40, 60)]
    assert levels == pytest.approx([40, 120, 200, 80], abs=3)
    source.close()


def test_a_frame_was_taken_a_delay_before_it_came(release, recording):
    source = opened(release, SourceKind.RECORDED, path="state.npy", delay_s=0.025)
    source.start(repeat=False)
    source.pace(Grid(1000 * MS, 50.0))
    assert source.read(1021 * MS)[0] == 0
    assert source.stamp_ns == (1020 - 25) * MS


def test_frames_of_another_phase_come_between_the_ticks(release, recording):
    source = opened(release, SourceKind.RECORDED, path="state.npy", phase_s=0.012)
    source.start(repeat=False)
    source.pace(Grid(1000 * MS, 50.0))
    seen = [(source.read(now * MS)[0], source.stamp_ns / MS - 1000) for now in (1000, 1011, 1012, 1020, 1040)]
    assert seen == [(0, -8), (0, -8), (3, 12), (3, 12), (6, 32)]


def test_unpaced_every_read_is_a_new_frame_of_now(release, recording):
    source = opened(release, SourceKind.RECORDED, path="state.npy")
    source.start(repeat=False)
    assert [source.read(7)[0], source.read(7)[0]] == [0, 3]
    assert source.stamp_ns == 7


def test_a_source_that_ends_says_where(release, recording):
    source = opened(release, SourceKind.RECORDED, path="state.npy")
    source.start(repeat=False)
    for _ in range(4):
        source.read(0)
    with pytest.raises(SourceError, match=r"observation.state ended at frame 4 \(state.npy\)") as caught:
        source.read(0)
    assert "on_end: repeat" in caught.value.hint


def test_a_source_that_repeats_begins_anew(release, recording):
    source = opened(release, SourceKind.RECORDED, path="state.npy", on_end=OnEnd.REPEAT)
    source.start(repeat=True)
    assert [source.read(0)[0] for _ in range(6)] == [0, 3, 6, 9, 0, 3]


def test_starting_again_begins_at_the_first_frame(release, recording):
    source = opened(release, SourceKind.RECORDED, path="state.npy")
    for _ in range(2):
        source.start(repeat=False)
        assert [source.read(0)[0], source.read(0)[0]] == [0, 3]


def test_an_empty_recording_ends_at_once_even_if_it_repeats(release):
    np.save(release.directory / "state.npy", np.empty((0, 3), np.float32))
    source = opened(release, SourceKind.RECORDED, path="state.npy")
    source.start(repeat=True)
    with pytest.raises(SourceError, match="ended at frame 0"):
        source.read(0)


def test_a_video_is_decoded_on_demand_and_repeats(release):
    write_video(release.directory / "v.mp4", [40, 120, 200], size=(8, 10))
    source = opened(release, SourceKind.VIDEO, CAMERAS[0], path="v.mp4")
    source.start(repeat=True)
    levels = [float(source.read(0).mean()) for _ in range(5)]
    assert levels == pytest.approx([40, 120, 200, 40, 120], abs=3)
    source.start(repeat=False)
    for _ in range(3):
        source.read(0)
    with pytest.raises(SourceError, match="ended at frame 3"):
        source.read(0)
    source.close()


def test_an_image_never_ends(release):
    write_image(release.directory / "i.png", np.full((8, 10, 3), 9, np.uint8))
    source = opened(release, SourceKind.IMAGE, CAMERAS[0], path="i.png")
    source.start(repeat=False)
    assert [int(source.read(0).mean()) for _ in range(3)] == [9, 9, 9]


def test_noise_is_seeded_and_of_the_type_of_the_feature(release):
    first, again, other = (opened(release, SourceKind.SYNTHETIC, CAMERAS[0], seed=seed) for seed in (1, 1, 2))
    frames = [source.read(0) for source in (first, again, other)]
    assert (frames[0].dtype, frames[0].shape) == (np.uint8, (8, 10, 3))
    np.testing.assert_array_equal(frames[0], frames[1])
    assert (frames[0] != frames[2]).any()
    assert opened(release, SourceKind.SYNTHETIC).read(0).dtype == np.float32


def test_noise_for_indices_of_a_bare_graph_is_valid(release):
    tokens = Feature("tokens", FeatureKind.TENSOR, DType.INT64, (-1, 4))
    values = open_source(SourceSpec("tokens", SourceKind.SYNTHETIC), tokens, release).read(0)
    assert (values.shape, values.dtype) == ((1, 4), np.int64)
    assert set(values.flat) <= {0, 1}


def test_a_recording_of_another_rank_is_refused(release):
    np.save(release.directory / "state.npy", np.zeros((4, 2, 3), np.float32))
    with pytest.raises(ShapeError, match=r"\[4, 2, 3\].*\[frames, \*\[3\]\]"):
        opened(release, SourceKind.RECORDED, path="state.npy")


@pytest.mark.parametrize("content", [b"", b"not numpy", None])
def test_what_is_no_recording_is_refused(release, content):
    if content is not None:
        (release.directory / "state.npy").write_bytes(content)
    with pytest.raises(SourceError, match=r"state\.npy"):
        opened(release, SourceKind.RECORDED, path="state.npy")


def test_a_pickled_recording_is_not_loaded(release):
    np.save(release.directory / "state.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(SourceError, match=r"state\.npy"):
        opened(release, SourceKind.RECORDED, path="state.npy")


def test_a_path_out_of_the_release_is_refused(release):
    with pytest.raises(BundlePathError):
        opened(release, SourceKind.RECORDED, path="../secret.npy")


def test_a_recording_on_disk_is_not_changed_by_what_reads_it(release, recording):
    source = opened(release, SourceKind.RECORDED, path="state.npy")
    frame = source.read(0)
    frame += 100
    np.testing.assert_array_equal(np.load(release.directory / "state.npy"), recording)


def test_a_text_is_the_same_at_every_read_and_never_ends(release):
    task = Feature("task", FeatureKind.LANGUAGE, DType.TEXT, ())
    source = open_source(SourceSpec("task", SourceKind.TEXT, text="stack the cups"), task, release)
    source.start(repeat=False)
    assert [str(source.read(0)) for _ in range(20)] == ["stack the cups"] * 20
