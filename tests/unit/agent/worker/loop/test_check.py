from dataclasses import replace

import pytest

from edgectl_agent.worker.loop.check import check_fits
from edgectl_protos.domain.errors import LoopSpecError
from edgectl_protos.domain.loop import Execution, Mode, Op, SourceKind, SourceSpec, StageSpec
from edgectl_testkit.bundles import CAMERAS, STATE, tiny_loop, tiny_policy

LOOP, POLICY = tiny_loop(), tiny_policy()


def without(op):
    return replace(LOOP, stages=tuple(stage for stage in LOOP.stages if stage.op is not op))


def fed_by(feature, kind):
    rest = tuple(source for source in LOOP.sources if source.feature != feature)
    return replace(LOOP, sources=(*rest, SourceSpec(feature, kind, path="x")))


def test_the_loop_of_the_policy_fits():
    check_fits(LOOP, POLICY)
    check_fits(without(Op.DECODE), POLICY)
    check_fits(fed_by(CAMERAS[0], SourceKind.VIDEO), POLICY)


@pytest.mark.parametrize(
    ("loop", "complaint"),
    [
        (replace(LOOP, sources=LOOP.sources[1:]), "no source for observation.images.top"),
        (replace(LOOP, sources=(*LOOP.sources, SourceSpec("depth", SourceKind.SYNTHETIC))), "depth, which"),
        (fed_by(STATE, SourceKind.VIDEO), "video cannot feed observation.state"),
        (
            replace(fed_by(CAMERAS[0], SourceKind.IMAGE), stages=without(Op.DECODE).stages),
            "image .* must be decoded",
        ),
        (without(Op.NORMALISE), r"observation.images.top must be processed \(normalise\)"),
        (without(Op.UNNORMALISE), r"action must be processed \(unnormalise\)"),
        (replace(LOOP, execution=Execution(chunk=3, use=1)), "chunks of 3 actions; the policy predicts 4"),
        (replace(LOOP, rate_hz=1000.0, measure_s=5000.0), "more than 1000000 ticks"),
        (
            replace(LOOP, sources=(replace(LOOP.sources[0], fps=-1.0), *LOOP.sources[1:])),
            "rate of -1.0 Hz",
        ),
    ],
)
def test_what_does_not_fit_is_said(loop, complaint):
    with pytest.raises(LoopSpecError, match=complaint):
        check_fits(loop, POLICY)


def test_a_stage_may_not_take_the_name_of_ours():
    stages = tuple(replace(stage, id="pub") if stage.id == "post" else stage for stage in LOOP.stages)
    with pytest.raises(LoopSpecError, match="'pub' is edgectl's own"):
        check_fits(replace(LOOP, stages=stages), POLICY)


def test_a_long_closed_run_is_bounded_by_its_room_and_not_refused():
    check_fits(replace(LOOP, rate_hz=1000.0, measure_s=5000.0, mode=Mode.CLOSED), POLICY)


def test_processing_that_the_graph_does_needs_no_stage():
    folded = replace(
        POLICY,
        pre=tuple(replace(step, folded=True) for step in POLICY.pre),
        post=tuple(replace(step, folded=True) for step in POLICY.post),
    )
    check_fits(replace(LOOP, stages=(StageSpec("act", Op.MODEL),)), folded)
