from dataclasses import replace
from itertools import repeat

import numpy as np
import pytest

from edgectl_protos.domain.errors import ShapeError
from edgectl_protos.domain.loop import OnEnd, Op, SourceKind, SourceSpec, StageSpec
from edgectl_testkit.bundles import CAMERAS, STATE
from edgectl_testkit.video import write_video


def with_source(spec, source):
    rest = tuple(other for other in spec.sources if other.feature != source.feature)
    return replace(spec, sources=(source, *rest))


@pytest.fixture
def large_video(release, spec):
    write_video(release.directory / "large.mp4", [100, 110], size=(16, 20))
    return with_source(spec, SourceSpec(CAMERAS[0], SourceKind.VIDEO, path="large.mp4", on_end=OnEnd.REPEAT))


def test_a_frame_of_another_size_is_refused_with_the_stage_that_helps(make_loop, large_video):
    with pytest.raises(ShapeError, match=r"images.top is uint8\[8, 10, 3\].*got uint8\[16, 20, 3\]") as caught:
        make_loop(large_video, repeat(1)).smoke()
    assert "{id: geo, op: resize}" in caught.value.hint


def test_with_that_stage_it_is_resized(make_loop, large_video):
    stages = (large_video.stages[0], StageSpec("geo", Op.RESIZE), *large_video.stages[1:])
    loop = make_loop(replace(large_video, stages=stages), repeat(1))
    assert loop.smoke() == 3
    assert [stage.id for stage in loop.stages] == ["dec", "geo", "norm", "act", "post"]


def test_a_state_of_another_size_is_refused_even_where_frames_are_resized(make_loop, release, spec):
    np.save(release.directory / "state.npy", np.zeros((9, 4), np.float32))
    spec = with_source(spec, SourceSpec(STATE, SourceKind.RECORDED, path="state.npy"))
    stages = (spec.stages[0], StageSpec("geo", Op.RESIZE), *spec.stages[1:])
    with pytest.raises(ShapeError, match=r"state is float32\[3\].*got float32\[4\]"):
        make_loop(replace(spec, stages=stages), repeat(1)).smoke()


def test_a_recording_of_another_type_is_refused(make_loop, release, spec):
    np.save(release.directory / "state.npy", np.zeros((9, 3), np.float64))
    spec = with_source(spec, SourceSpec(STATE, SourceKind.RECORDED, path="state.npy"))
    with pytest.raises(ShapeError, match="got float64"):
        make_loop(spec, repeat(1)).smoke()


def test_notes_say_what_a_stage_has_not_to_do(make_loop, spec, large_video):
    notes = {stage.id: stage.note for stage in make_loop(spec, repeat(1)).stages}
    assert notes["dec"] == "nothing to decode"
    notes = {stage.id: stage.note for stage in make_loop(large_video, repeat(1)).stages}
    assert notes["dec"] == "video"
    assert notes["norm"] == ""
