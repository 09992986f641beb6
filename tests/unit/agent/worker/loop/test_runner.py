import gc
from dataclasses import replace
from itertools import chain, repeat

import numpy as np
import pytest

from edgectl_agent.worker.loop.summary import summarise
from edgectl_protos.domain.errors import NonFiniteError
from edgectl_protos.domain.loop import Deadlines, Execution, Mode, Op, Overrun, StageSpec
from edgectl_testkit.bundles import CHUNK

MS = 1_000_000


def figures(loop, spec):
    return summarise(spec, loop.stages, loop.measure())


def test_a_loop_that_keeps_up_responds_within_its_service_time(make_loop, spec):
    found = figures(make_loop(spec, repeat(4)), spec)
    assert (found.ticks, found.inferences) == (10, 5)
    assert found.response.max == found.service.max == pytest.approx(0.004)
    assert found.misses.count == found.misses.skipped == found.starved_ticks == 0
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
    spec = replace(spec, execution=Execution(chunk=CHUNK, use=4), measure_s=0.04)
    found = figures(make_loop(spec, repeat(3)), spec)
    # Observed at t0, published at 3, 10, 20 and 30 ms.
    assert (found.age.n, found.age.min, found.age.max) == (4, pytest.approx(0.003), pytest.approx(0.030))


def test_the_age_counts_from_when_the_frame_was_taken(make_loop, spec):
    # 40 Hz sources under a 100 Hz loop: at 20 ms the latest frame is that of 0 ms, at 60 ms that of 50 ms.
    sources = tuple(replace(source, fps=40.0) for source in spec.sources)
    spec = replace(spec, sources=sources, execution=Execution(chunk=CHUNK, use=1))
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
    spec = replace(spec, execution=Execution(chunk=CHUNK, use=1))
    found = figures(make_loop(spec, chain([1, 45], repeat(1))), spec)
    assert found.ticks == 6
    assert found.misses.skipped == 4
    assert (found.misses.count, found.misses.longest_run) == (5, 5)
    assert found.misses.rate == pytest.approx(0.5)
    # 45 ms, and for the four lost slots 41, 31, 21 and 11 ms until the next action; a closed loop saw one.
    assert found.response.n == 10
    assert found.response.max == pytest.approx(0.045)
    assert found.starved_ticks == 5


def test_under_burst_a_stall_charges_every_tick_it_delayed(make_loop, spec):
    spec = replace(spec, execution=Execution(chunk=CHUNK, use=1), overrun=Overrun.BURST)
    loop = make_loop(spec, chain([1, 45], repeat(1)))
    measurement = loop.measure()
    responses = measurement.recorder.column("pub") - measurement.recorder.column("scheduled")
    assert list(responses // MS) == [1, 45, 36, 27, 18, 9, 1, 1, 1, 1]
    found = summarise(spec, loop.stages, measurement)
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
    spec = replace(spec, execution=Execution(chunk=CHUNK, use=1), overrun=Overrun.BURST, deadlines=Deadlines(0.02))
    found = figures(make_loop(spec, chain([15, 1], repeat(1))), spec)
    assert found.misses.count == 0
    assert found.starved_ticks == 1


def test_stages_run_on_inference_ticks_only_and_account_for_the_time(make_loop, spec):
    found = figures(make_loop(spec, repeat(4)), spec)
    assert [stage.id for stage in found.stages] == ["dec", "norm", "act", "post", "merge", "pub"]
    assert [stage.times.n for stage in found.stages] == [5, 5, 5, 5, 10, 10]
    model = found.stages[2]
    assert (model.op, model.share, model.times.max) == ("model", pytest.approx(1), pytest.approx(0.004))
    assert found.overhead_share == 0


def test_time_outside_every_stage_is_overhead(make_loop, spec):
    loop = make_loop(spec, repeat(4))
    measurement = loop.measure()
    # One millisecond between publishing and the end of each tick.
    measurement.recorder.ticks[:, measurement.recorder.columns.index("done")] += MS
    found = summarise(spec, loop.stages, measurement)
    assert found.overhead_share == pytest.approx(10 / 20)


def test_closed_mode_runs_without_pauses_and_judges_no_schedule(make_loop, spec):
    spec = replace(spec, mode=Mode.CLOSED)
    loop = make_loop(spec, repeat(4))
    loop.warm_up(lambda _: None)
    found = figures(loop, spec)
    assert found.inferences == 25
    assert found.rates.replan_hz == pytest.approx(250)
    assert found.rates.observation_hz == pytest.approx(250)
    assert (found.wake.n, found.jitter.n, found.starved_ticks) == (0, 0, 0)


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


def test_the_first_tick_is_kept_for_the_cold_start(make_loop, spec):
    loop = make_loop(spec, repeat(50))
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


def test_a_nan_stops_the_loop_and_is_no_action(make_loop, spec, monkeypatch):
    published = []
    loop = make_loop(spec, repeat(1), published=published)
    monkeypatch.setattr(np, "full", lambda *_: np.array([[[1.0, np.nan]] * CHUNK], np.float32))
    with pytest.raises(NonFiniteError, match="4 of 8 values"):
        loop.smoke()
    assert published == []
    assert gc.isenabled()


def test_a_step_without_a_stage_is_done_with_the_next_one_that_has(make_loop, spec, release):
    spec = replace(spec, stages=tuple(stage for stage in spec.stages if stage.op is not Op.DECODE))
    found = figures(make_loop(spec, repeat(4)), spec)
    assert [stage.id for stage in found.stages] == ["norm", "act", "post", "merge", "pub"]
    bare = replace(spec, stages=(StageSpec("act", Op.MODEL),))
    published = []
    figures(make_loop(bare, repeat(4), published=published), bare)
    assert published[0][0] == 3
