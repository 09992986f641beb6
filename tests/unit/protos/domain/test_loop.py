"""Loop specifications: what is refused, what fits a policy, and what a run may change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import LoopSpecError
from edgectl_protos.domain.loop import (
    Deadlines,
    Execution,
    LoopOverrides,
    Mode,
    SourceKind,
    SourceSpec,
    check_fits,
)
from edgectl_protos.domain.policy import Feature, FeatureKind
from edgectl_testkit.bundles import CAMERAS, STATE, tiny_loop, tiny_policy

TOP = CAMERAS[0]
TASK = Feature("task", FeatureKind.LANGUAGE, DType.TEXT, ())
TOLD = replace(tiny_policy(), observations=(*tiny_policy().observations, TASK))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate_hz": 0.0}, "rate 0.0 Hz"),
        ({"measure_s": -1.0}, "measure -1.0 s"),
        ({"sink": "so101"}, "moves no robot"),
    ],
)
def test_a_loop_that_cannot_run_is_refused(change, message):
    with pytest.raises(LoopSpecError, match=message):
        replace(tiny_loop(), **change)


def test_two_sources_may_not_feed_one_feature():
    loop = tiny_loop()
    with pytest.raises(LoopSpecError, match="two sources"):
        replace(loop, sources=(*loop.sources, loop.sources[0]))


def test_an_execution_uses_at_least_one_action():
    with pytest.raises(LoopSpecError, match="uses 0 actions"):
        Execution(use=0)


def test_an_execution_of_an_unknown_kind_is_refused():
    with pytest.raises(LoopSpecError, match="'telepathy' is not known; known: sync_chunk"):
        Execution(use=1, kind="telepathy")


# --- does it fit the policy ----------------------------------------------------------------------------------------


def with_source(**changes):
    """The tiny loop with its first source, of the top camera, changed."""
    loop = tiny_loop()
    return replace(loop, sources=(replace(loop.sources[0], **changes), *loop.sources[1:]))


def told(**changes):
    """The tiny loop with an instruction."""
    loop = tiny_loop()
    source = replace(SourceSpec("task", SourceKind.TEXT, text="pick up the cube"), **changes)
    return replace(loop, sources=(*loop.sources, source))


def test_a_loop_that_feeds_all_that_the_policy_observes_fits():
    check_fits(tiny_loop(), tiny_policy())
    check_fits(told(), TOLD)
    check_fits(with_source(kind=SourceKind.VIDEO, path="top.mp4", resize=True, fps=30.0), tiny_policy())


@pytest.mark.parametrize(
    ("spec", "policy", "message"),
    [
        (replace(tiny_loop(), sources=tiny_loop().sources[1:]), tiny_policy(), f"no source for {TOP}"),
        (tiny_loop(), TOLD, "no source for task"),
        (told(), tiny_policy(), f"source for task, which the policy does not observe; it observes: {TOP}"),
        (told(kind=SourceKind.SYNTHETIC), TOLD, "task takes a text: .*; its source is synthetic"),
        (told(text="  \n"), TOLD, "the instruction of task is empty"),
        (with_source(kind=SourceKind.TEXT, text="look"), tiny_policy(), f"{TOP} takes no text; its source is text"),
        (with_source(fps=-1.0), tiny_policy(), "has a rate of -1.0 Hz"),
        (replace(tiny_loop(), execution=Execution(use=5)), tiny_policy(), "executes 5 actions .* predicts 4"),
        (tiny_loop(rate_hz=1000.0, measure_s=1001.0), tiny_policy(), "1001 s at 1000 Hz are more than 1000000 ticks"),
    ],
)
def test_a_loop_that_does_not_fit_is_refused_before_anything_is_done(spec, policy, message):
    with pytest.raises(LoopSpecError, match=message):
        check_fits(spec, policy)


@pytest.mark.parametrize("kind", [SourceKind.VIDEO, SourceKind.IMAGE])
def test_only_a_camera_is_fed_with_pictures(kind):
    loop = tiny_loop()
    state = replace(loop.sources[2], kind=kind)
    with pytest.raises(LoopSpecError, match=f"a {kind.value} cannot feed {STATE}, which is no camera"):
        check_fits(replace(loop, sources=(*loop.sources[:2], state)), tiny_policy())


def test_only_a_camera_is_resized():
    loop = tiny_loop()
    state = replace(loop.sources[2], resize=True)
    with pytest.raises(LoopSpecError, match=f"{STATE} is no camera, and cannot be resized"):
        check_fits(replace(loop, sources=(*loop.sources[:2], state)), tiny_policy())


def test_a_closed_loop_may_run_as_long_as_it_likes():
    check_fits(replace(tiny_loop(rate_hz=1000.0, measure_s=1001.0), mode=Mode.CLOSED), tiny_policy())


# --- what a run may change -----------------------------------------------------------------------------------------


def test_a_default_deadline_follows_the_rate_and_a_chosen_one_stays():
    loop = tiny_loop(rate_hz=50.0)
    assert LoopOverrides(rate_hz=100.0).apply(loop).deadlines.tick_s == pytest.approx(0.01)
    chosen = replace(loop, deadlines=Deadlines(tick_s=0.015))
    assert LoopOverrides(rate_hz=100.0).apply(chosen).deadlines.tick_s == 0.015


def test_no_override_changes_nothing():
    loop = tiny_loop()
    assert LoopOverrides().apply(loop) == loop


def test_each_override_changes_its_own_field():
    changed = LoopOverrides(measure_s=2.0, mode=Mode.CLOSED, threads=1).apply(tiny_loop())
    assert (changed.measure_s, changed.mode, changed.threads) == (2.0, Mode.CLOSED, 1)
