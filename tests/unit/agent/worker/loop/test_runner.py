import gc
from dataclasses import replace
from itertools import chain, repeat

import numpy as np
import pytest

from edgectl_agent.worker.loop import recorder as columns
from edgectl_agent.worker.loop.summary import summarise
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import NonFiniteError
from edgectl_protos.domain.loop import Deadlines, Execution, Limit, Metric, Mode, Overrun, SourceKind
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy
from edgectl_protos.domain.program import Call, Program, Repeat, Unnormalise
from edgectl_testkit.bundles import ACTION_DIM, CHUNK, COMPONENT, STATE, tiny_component

MS = 1_000_000
STEPS = ["dec", "norm.top", "norm.wrist", "norm.state", "act", "post", "merge", "pub"]


def figures(loop, spec):
    return summarise(spec, loop.measure())


def test_a_loop_that_keeps_up_responds_within_its_service_time(make_loop, spec):
    found = figures(make_loop(spec, repeat(4)), spec)
    assert (found.ticks, found.inferences) == (10, 5)
    assert found.response.max == found.service.max == pytest.approx(0.004)
    assert found.misses.count == found.misses.skipped == found.starved_slots == 0
    assert found.measured_s == pytest.approx(0.1)
    assert found.rates.command_hz == pytest.approx(100)
    assert found.rates.replan_hz == found.rates.observation_hz == pytest.approx(50)
    assert found.jitter.max == pytest.approx(0.004)


def test_actions_of_a_chunk_are_published_in_order_and_the_rest_dropped(make_loop, spec):
    published = []
    figures(make_loop(spec, repeat(1), published=published), spec)
    # The un-normalised number of the inference, twice each: `use` is 2 of 4.
    assert [action[0] for action in published] == [3, 3, 5, 5, 7, 7, 9, 9, 11, 11]


def test_the_age_of_an_action_grows_with_its_place_in_the_chunk(make_loop, spec):
    spec = replace(spec, execution=Execution(use=4), measure_s=0.04)
    found = figures(make_loop(spec, repeat(3)), spec)
    # Observed at t0, published at 3, 10, 20 and 30 ms.
    assert (found.age.n, found.age.min, found.age.max) == (4, pytest.approx(0.003), pytest.approx(0.030))


def test_the_age_counts_from_when_the_frame_was_taken(make_loop, spec):
    # 40 Hz sources under a 100 Hz loop: at 20 ms the latest frame is that of 0 ms, at 60 ms that of 50 ms.
    sources = tuple(replace(source, fps=40.0) for source in spec.sources)
    spec = replace(spec, sources=sources, execution=Execution(use=1))
    found = figures(make_loop(spec, repeat(1)), spec)
    assert found.age.max == pytest.approx(0.021)
    assert found.rates.observation_hz == pytest.approx(40)


def test_the_age_is_that_of_the_oldest_source(make_loop, spec):
    slow = replace(spec.sources[2], fps=20.0)
    spec = replace(spec, sources=(*spec.sources[:2], slow))
    # At 40 ms the state is still that of 0 ms, and its action is published twice.
    found = figures(make_loop(spec, repeat(1)), spec)
    assert found.age.max == pytest.approx(0.050)


def test_under_skip_a_stall_charges_every_slot_it_delayed(make_loop, spec):
    spec = replace(spec, execution=Execution(use=1))
    found = figures(make_loop(spec, chain([1, 45], repeat(1))), spec)
    assert found.ticks == 6
    assert found.misses.skipped == 4
    assert (found.misses.count, found.misses.longest_run) == (5, 5)
    assert found.misses.rate == pytest.approx(0.5)
    # 45 ms, and for the four lost slots 41, 31, 21 and 11 ms until the next action; a closed loop saw one.
    assert found.response.n == 10
    assert found.response.max == pytest.approx(0.045)
    assert found.starved_slots == 5


def test_slots_that_a_stall_at_the_end_swallowed_are_charged_too(make_loop, spec):
    spec = replace(spec, execution=Execution(use=1))
    found = figures(make_loop(spec, chain(repeat(1, 6), [38], repeat(1))), spec)
    assert (found.ticks, found.misses.skipped, found.starved_slots) == (7, 3, 4)
    # The stall from 60 to 98 ms, and three slots for which nothing came until the end at 100 ms.
    assert found.response.n == 10
    assert found.response.max == pytest.approx(0.038)
    assert (found.misses.count, found.misses.rate) == (4, pytest.approx(0.4))


def test_a_run_counts_what_is_over_each_of_its_limits(make_loop, spec):
    limits = (
        Limit(Metric.TICK, "p99", 0.010),
        Limit(Metric.TICK, "p50", 0.003),
        Limit(Metric.AGE, "p95", 0.015),
        Limit(Metric.MISSES, "rate", 0.05),
        Limit(Metric.MISSES, "run", 2),
        Limit(Metric.STARVATION, "rate", 0.0),
    )
    spec = replace(spec, execution=Execution(use=1), deadlines=Deadlines(limits))
    found = figures(make_loop(spec, chain([1, 45, 5], repeat(1))), spec)
    counts = [(each.limit.metric, each.limit.statistic, each.n, each.count) for each in found.exceedances]
    assert counts == [
        (Metric.TICK, "p99", 10, 5),
        (Metric.TICK, "p50", 10, 6),
        (Metric.AGE, "p95", 6, 1),
        (Metric.MISSES, "rate", 10, 5),
        (Metric.STARVATION, "rate", 10, 5),
    ]
    assert all(each.dispersion >= 1 for each in found.exceedances)


def test_between_ticks_there_is_the_time_until_the_next(make_loop, spec):
    left = []
    make_loop(replace(spec, execution=Execution(use=1)), chain([4, 25], repeat(1))).measure(left.append)
    assert [round(ns / MS) for ns in left[1:4]] == [6, 5, 9]


def test_a_source_is_shown_at_its_own_speed_whatever_the_rate_of_the_loop(make_loop, spec):
    sources = tuple(replace(source, fps=300.0) for source in spec.sources)
    found = figures(make_loop(replace(spec, sources=sources, execution=Execution(use=1)), repeat(1)), spec)
    # Of the 28 frames until the last tick each source was asked for ten.
    assert found.unused_frames == 3 * 18
    assert found.rates.observation_hz == pytest.approx(100)


def test_under_burst_a_stall_charges_every_tick_it_delayed(make_loop, spec):
    spec = replace(spec, execution=Execution(use=1), overrun=Overrun.BURST)
    measurement = make_loop(spec, chain([1, 45], repeat(1))).measure()
    recorder = measurement.recorder
    responses = recorder.column(columns.PUBLISHED) - recorder.column(columns.SCHEDULED)
    assert list(responses // MS) == [1, 45, 36, 27, 18, 9, 1, 1, 1, 1]
    found = summarise(spec, measurement)
    assert (found.ticks, found.misses.count, found.misses.longest_run, found.misses.skipped) == (10, 4, 4, 0)
    assert found.service.max == pytest.approx(0.045)


def test_a_late_wake_is_response_time_but_not_service_time(make_loop, spec, clock):
    loop = make_loop(spec, repeat(2))
    clock.late_ns = 3 * MS
    found = figures(loop, spec)
    assert found.wake.max == pytest.approx(0.003)
    assert found.response.max == pytest.approx(0.005)
    assert found.service.max == pytest.approx(0.002)


def test_a_slower_deadline_than_the_period_is_judged_as_it_stands(make_loop, spec):
    spec = replace(spec, execution=Execution(use=1), overrun=Overrun.BURST, deadlines=Deadlines.of_tick(0.02))
    found = figures(make_loop(spec, chain([15, 1], repeat(1))), spec)
    assert found.misses.count == 0
    assert found.starved_slots == 1


def test_steps_run_on_inference_ticks_only_and_account_for_the_time(make_loop, spec):
    found = figures(make_loop(spec, repeat(4)), spec)
    assert [step.id for step in found.spans] == STEPS
    assert [step.times.n for step in found.spans] == [5, 5, 5, 5, 5, 5, 10, 10]
    model = found.spans[4]
    assert (model.op, model.component) == ("component", COMPONENT)
    assert (model.share, model.times.max, model.passes) == (pytest.approx(1), pytest.approx(0.004), ())
    assert found.overhead_share == 0


def test_time_outside_every_step_is_overhead_once(make_loop, spec):
    measurement = make_loop(spec, repeat(4)).measure()
    # One millisecond between publishing and the end of each tick.
    measurement.recorder.ticks[:, columns.DONE] += MS
    assert summarise(spec, measurement).overhead_share == pytest.approx(10 / 20)


def test_a_span_within_another_is_not_accounted_for_twice(make_loop, spec):
    measurement = make_loop(spec, repeat(4)).measure()
    old = measurement.recorder
    sites = old.spans.sites
    act = next(index for index, site in enumerate(sites) if site.step == "act")
    inner = replace(sites[act], step="act.inner", op="prefill", within="act")
    recorder = columns.Recorder((*sites, inner), old.count, 2 * len(old.spans.rows), lambda: 0)
    recorder.count = old.count
    recorder.ticks[:] = old.ticks
    for inference, site, begin, end in old.spans.rows.tolist():
        recorder.spans.inference = inference
        recorder.spans.add(site, begin, end)
        if site == act:
            # Half of each call again, as a span of its own.
            recorder.spans.add(len(sites), begin + 2 * MS, end)
    measurement = replace(measurement, recorder=recorder)
    found = summarise(spec, measurement)
    assert {step.id: step.share for step in found.spans}["act.inner"] == pytest.approx(0.5)
    assert found.overhead_share == 0


# --- a program with a loop -------------------------------------------------------------------------------------------

TWICE = Program(
    tensors=(
        TensorSpec("chunk", DType.FLOAT32, (1, CHUNK, ACTION_DIM)),
        TensorSpec("action", DType.FLOAT32, (CHUNK, ACTION_DIM)),
    ),
    steps=(
        Repeat("denoise", 2, (Call("step", COMPONENT, {"state": STATE}, {"action": "chunk"}),)),
        Unnormalise("post", "chunk", "action", "post.action"),
    ),
    action="action",
    arrays="arrays.npz",
)


def test_a_step_of_a_loop_has_the_sum_of_its_passes_and_a_row_for_each(make_loop, spec):
    component = replace(tiny_component(), inputs=(TensorSpec("state", DType.FLOAT32, (1, 3)),))
    loop = make_loop(spec, chain.from_iterable(repeat((3, 1))), program=TWICE, component=component)
    found = figures(loop, spec)
    assert [step.id for step in found.spans] == ["dec", "step", "post", "merge", "pub"]
    step = found.spans[1]
    assert (step.times.n, step.times.min, step.times.max) == (5, pytest.approx(0.004), pytest.approx(0.004))
    assert [(each.n, each.min, each.max) for each in step.passes] == [
        (5, pytest.approx(0.003), pytest.approx(0.003)),
        (5, pytest.approx(0.001), pytest.approx(0.001)),
    ]
    assert step.share == pytest.approx(1)
    assert found.overhead_share == 0


# --- a program that remembers observations ---------------------------------------------------------------------------

HISTORY = 2


@pytest.fixture
def remembering(release):
    """Its action is the history of states."""
    np.save(release.directory / "state.npy", np.repeat(np.arange(100, dtype=np.float32), 3).reshape(100, 3))
    policy = Policy(
        type="remembering",
        observations=(Feature(STATE, FeatureKind.STATE, DType.FLOAT32, (3,)),),
        action=Feature("action", FeatureKind.ACTION, DType.FLOAT32, (3,)),
        chunk_size=HISTORY,
        n_action_steps=2,
        history=HISTORY,
    )
    program = Program(
        tensors=(TensorSpec("action", DType.FLOAT32, (HISTORY, 3)),),
        steps=(Unnormalise("post", STATE, "action", "same"),),
        action="action",
        arrays="arrays.npz",
    )
    arrays = {"same.offset": np.zeros(3, np.float32), "same.scale": np.ones(3, np.float32)}
    return {"policy": policy, "program": program, "arrays": arrays}


def test_a_policy_with_a_history_looks_at_every_tick(make_loop, spec, remembering):
    source = replace(spec.sources[2], kind=SourceKind.RECORDED, path="state.npy")
    spec = replace(spec, sources=(source,))
    published = []
    found = figures(make_loop(spec, (), published=published, **remembering), spec)
    # At tick 0 the first observation fills the history; at tick 2 it holds those of ticks 1 and 2.
    assert [action[0] for action in published] == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    reading = found.spans[0]
    assert (reading.id, reading.times.n, found.inferences) == ("dec", 10, 5)
    assert found.rates.observation_hz == pytest.approx(100)


def test_the_history_of_one_run_does_not_reach_the_next(make_loop, spec, remembering):
    source = replace(spec.sources[2], kind=SourceKind.RECORDED, path="state.npy")
    published = []
    loop = make_loop(replace(spec, sources=(source,)), (), published=published, **remembering)
    loop.smoke()
    published.clear()
    loop.smoke()
    assert [action[0] for action in published] == [0, 0, 1]


# --- the order of a run ----------------------------------------------------------------------------------------------


def test_closed_mode_runs_without_pauses_and_judges_no_schedule(make_loop, spec):
    spec = replace(spec, mode=Mode.CLOSED)
    loop = make_loop(spec, repeat(4))
    loop.warm_up(lambda _: None)
    found = figures(loop, spec)
    assert found.inferences == 25
    assert found.rates.replan_hz == pytest.approx(250)
    assert found.rates.observation_hz == pytest.approx(250)
    assert (found.wake.n, found.jitter.n, found.starved_slots) == (0, 0, 0)


def test_there_is_room_for_every_span_of_a_run(make_loop, spec):
    for mode in Mode:
        changed = replace(spec, mode=mode, execution=Execution(use=1))
        loop = make_loop(changed, repeat(4))
        loop.warm_up(lambda _: None)
        assert not loop.measure().recorder.spans.full


def test_warm_up_is_by_rule_and_measures_nothing(make_loop, spec):
    published = []
    loop = make_loop(spec, chain(repeat(9, 20), repeat(4)), published=published)
    warm_up = loop.warm_up(lambda _: None)
    assert (warm_up.inferences, warm_up.met) == (60, True)
    assert warm_up.seconds == pytest.approx(0.34)
    assert figures(loop, spec).inferences == 5


def test_warm_up_says_how_far_it_is_a_few_times_a_second_at_most(make_loop, spec):
    seen = []
    make_loop(spec, (100 * 2 ** (index // 20) for index in range(400))).warm_up(seen.append)
    assert seen == sorted(seen)
    assert 2 <= len(seen) <= 120
    assert all(0 < share <= 1 for share in seen)


def test_smoke_runs_two_inferences_and_every_tick_between(make_loop, spec):
    published = []
    assert make_loop(spec, repeat(1), published=published).smoke() == 3
    assert [action[0] for action in published] == [3, 3, 5]


def test_the_first_tick_is_kept_for_the_cold_start_without_its_program(make_loop, spec):
    loop = make_loop(spec, repeat(50))
    assert loop.first_overhead_ns is None
    loop.smoke()
    assert loop.first_overhead_ns == 0


def test_garbage_is_not_collected_while_measuring_and_is_again_afterwards(make_loop, spec):
    states = []
    loop = make_loop(spec, repeat(1))
    loop._publish = lambda _: states.append(gc.isenabled())
    loop.measure()
    assert set(states) == {False}
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_a_nan_stops_the_loop_and_is_no_action(make_loop, spec):
    published = []
    broken = np.array([[[1.0, np.nan]] * CHUNK], np.float32)
    loop = make_loop(spec, repeat(1), published=published, chunk_of=lambda _: broken)
    with pytest.raises(NonFiniteError, match="4 of 8 values"):
        loop.measure()
    assert published == []
    assert gc.isenabled()
