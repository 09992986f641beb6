"""Loop specifications: what is refused, what fits a policy, and what a run may change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import LoopSpecError
from edgectl_protos.domain.loop import (
    Deadlines,
    Execution,
    Limit,
    LoopOverrides,
    Metric,
    Mode,
    SourceKind,
    SourceSpec,
    check_fits,
    default_measure_s,
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


@pytest.mark.parametrize("field", ["fps", "delay_s", "phase_s"])
@pytest.mark.parametrize("value", [-0.1, float("inf"), float("nan")])
def test_a_source_out_of_this_world_is_refused(field, value):
    with pytest.raises(LoopSpecError, match="the source of state has a"):
        SourceSpec("state", SourceKind.SYNTHETIC, **{field: value})


# --- deadlines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "statistic", "limit", "message"),
    [
        (Metric.TICK, "mean", 0.03, "tick has no statistic 'mean'; known: p50, p90, p95, p99, p999, max"),
        (Metric.MISSES, "p99", 0.01, "misses has no statistic 'p99'; known: rate, run"),
        (Metric.STARVATION, "rate", 1.5, "starvation rate cannot be limited to 1.5"),
        (Metric.AGE, "p95", float("nan"), "age p95 cannot be limited to nan"),
        (Metric.TICK, "p99", -0.1, "tick p99 cannot be limited to -0.1"),
    ],
)
def test_a_limit_that_means_nothing_is_refused(metric, statistic, limit, message):
    with pytest.raises(LoopSpecError, match=message):
        Limit(metric, statistic, limit)


def test_deadlines_limit_the_tick_at_least():
    with pytest.raises(LoopSpecError, match="nothing about the tick"):
        Deadlines((Limit(Metric.AGE, "p95", 0.1),))


def test_a_miss_is_a_tick_over_the_longest_of_its_deadlines():
    assert Deadlines.of_tick(0.033, Limit(Metric.TICK, "p50", 0.02)).tick_s == 0.033


def test_one_statement_made_twice_is_judged_once():
    p99, rate = Limit(Metric.TICK, "p99", 0.033), Limit(Metric.MISSES, "rate", 0.01)
    assert Deadlines((rate, p99)).statements == (rate,)
    others = (replace(rate, limit=0.02), Limit(Metric.TICK, "p99", 0.02), Limit(Metric.AGE, "p99", 0.033))
    assert Deadlines((p99, *others)).statements == (p99, *others)


@pytest.mark.parametrize(("rate_hz", "seconds"), [(30.0, 70.0), (10.0, 210.0), (1000.0, 20.0), (0.001, 86_400.0)])
def test_the_default_length_decides_at_every_rate(rate_hz, seconds):
    assert default_measure_s(rate_hz) == seconds


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


def test_pictures_feed_a_bare_graph_that_takes_frames_of_bytes():
    frame = Feature("frame", FeatureKind.TENSOR, DType.UINT8, (48, 64, 3))
    policy = replace(tiny_policy(), observations=(frame,))
    loop = replace(tiny_loop(), sources=(SourceSpec("frame", SourceKind.VIDEO, "frame.mp4"),))
    check_fits(loop, policy)
    with pytest.raises(LoopSpecError, match="is no camera"):
        check_fits(loop, replace(policy, observations=(replace(frame, dtype=DType.FLOAT32),)))


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
    assert LoopOverrides(rate_hz=100.0).apply(loop).deadlines == Deadlines.of_tick(0.01)
    chosen = Deadlines.of_tick(0.015, Limit(Metric.AGE, "p95", 0.02))
    assert LoopOverrides(rate_hz=100.0).apply(replace(loop, deadlines=chosen)).deadlines == chosen


def test_no_override_changes_nothing():
    loop = tiny_loop()
    assert LoopOverrides().apply(loop) == loop


def test_each_override_changes_its_own_field():
    changed = LoopOverrides(measure_s=2.0, mode=Mode.CLOSED, threads=1).apply(tiny_loop())
    assert (changed.measure_s, changed.mode, changed.threads) == (2.0, Mode.CLOSED, 1)
