from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgectl_converters.language import language_policy
from edgectl_converters.loop_file import derive_loop, dump_loop, load_loop, parse_duration_s, parse_loop, parse_rate_hz
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import LoopSpecError, SourceError
from edgectl_protos.domain.loop import (
    EXCEEDING_SHARES,
    Deadlines,
    Execution,
    Limit,
    LoopOverrides,
    LoopSpec,
    Metric,
    Mode,
    OnEnd,
    Overrun,
    SourceKind,
    SourceSpec,
)
from edgectl_protos.domain.policy import Feature, FeatureKind
from edgectl_testkit.bundles import CAMERAS, STATE, tiny_policy

TEXT = dump_loop(derive_loop(tiny_policy()))


def test_a_derived_loop_asks_for_what_the_policy_has():
    loop = derive_loop(tiny_policy())
    assert [source.feature for source in loop.sources] == [*CAMERAS, STATE]
    assert {source.kind for source in loop.sources} == {SourceKind.SYNTHETIC}
    assert loop.execution == Execution(2)
    assert loop.deadlines == Deadlines.of_tick(1 / 30)
    assert loop.measure_s == 70.0


def test_a_loop_that_answers_prompts_is_closed():
    loop = derive_loop(language_policy("llama", 1024))
    assert (loop.mode, loop.measure_s, loop.execution) == (Mode.CLOSED, 20.0, Execution(1))
    assert [source.kind for source in loop.sources] == [SourceKind.TEXT]


def test_a_derived_loop_takes_footage_where_there_is_some_and_repeats_it(tmp_path):
    np.save(tmp_path / f"{STATE}.npy", np.zeros((3, 3), np.float32))
    loop = derive_loop(tiny_policy(), tmp_path)
    state = next(source for source in loop.sources if source.feature == STATE)
    assert (state.kind, state.path, state.on_end) == (SourceKind.RECORDED, f"{STATE}.npy", OnEnd.REPEAT)
    assert loop.sources[0].kind is SourceKind.SYNTHETIC


def test_footage_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="absent"):
        derive_loop(tiny_policy(), tmp_path / "absent")


TASK = Feature("task", FeatureKind.LANGUAGE, DType.TEXT, ())
TOLD = replace(tiny_policy(), observations=(*tiny_policy().observations, TASK))


def test_an_instruction_is_a_text_source_from_the_command_the_footage_or_an_example(tmp_path):
    (tmp_path / "task.txt").write_text(" stack the cups\n")

    def text(*arguments, **named):
        (found,) = [s for s in derive_loop(TOLD, *arguments, **named).sources if s.kind is SourceKind.TEXT]
        return found.text

    assert text(tmp_path, task="sort the nuts") == "sort the nuts"
    assert text(tmp_path) == "stack the cups"
    assert text()
    loop = derive_loop(TOLD, task="say: 'ünïcode' #1")
    assert parse_loop(dump_loop(loop), what="x") == loop


def test_a_camera_of_another_size_is_resized_where_the_loop_says_so():
    loop = derive_loop(tiny_policy())
    resized = replace(loop, sources=(replace(loop.sources[0], resize=True), *loop.sources[1:]))
    assert parse_loop(dump_loop(resized), what="x") == resized


@pytest.mark.parametrize("data", [b"\xff\xfe", b"a: " + b"[" * 100_000, b"x" * (2 << 20)])
def test_a_file_of_any_bytes_is_refused_with_its_name(tmp_path, data):
    (tmp_path / "loop.yaml").write_bytes(data)
    with pytest.raises(LoopSpecError, match=r"loop\.yaml"):
        load_loop(tmp_path / "loop.yaml", tiny_policy())


def test_a_yaml_bomb_is_refused():
    bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
    with pytest.raises(LoopSpecError, match="alias"):
        parse_loop(bomb, what="x")


def test_what_init_prints_is_read_back_as_it_was():
    loop = derive_loop(tiny_policy())
    assert parse_loop(dump_loop(loop), what="loop.yaml") == loop


def test_the_default_deadline_still_follows_the_rate_after_a_round_trip():
    loop = parse_loop(TEXT, what="loop.yaml")
    changed = LoopOverrides(rate_hz=50.0).apply(loop)
    assert changed.deadlines.tick_s == pytest.approx(1 / 50)


def test_a_deadline_of_one_period_is_written_and_read_as_such():
    assert "deadlines: {tick: {p99: period}}" in TEXT
    faster = parse_loop(TEXT.replace("30Hz", "50Hz"), what="loop.yaml")
    assert faster.deadlines.tick_s == faster.period_s
    with pytest.raises(LoopSpecError, match="rate"):
        parse_loop(TEXT.replace("30Hz", "0Hz"), what="loop.yaml")


def limits(text):
    """What the deadlines of a file mean."""
    return parse_loop(TEXT.replace("{tick: {p99: period}}", text), what="x").deadlines.limits


def test_a_bare_deadline_means_its_default_statistic():
    assert limits("{tick: 33ms, age: 120ms, misses: 1%, starvation: 0%}") == (
        Limit(Metric.TICK, "p99", 0.033),
        Limit(Metric.AGE, "p95", 0.12),
        Limit(Metric.MISSES, "rate", 0.01),
        Limit(Metric.STARVATION, "rate", 0.0),
    )


def test_a_deadline_may_have_several_statistics():
    assert limits("{tick: {p50: 20ms, p99.9: period, max: 1s}, misses: {rate: 1%, run: 2}}") == (
        Limit(Metric.TICK, "p50", 0.02),
        Limit(Metric.TICK, "p999", 1 / 30),
        Limit(Metric.TICK, "max", 1.0),
        Limit(Metric.MISSES, "rate", 0.01),
        Limit(Metric.MISSES, "run", 2),
    )


def test_a_loop_without_a_length_has_one_that_decides():
    lines = [line for line in TEXT.replace("30Hz", "10Hz").splitlines() if not line.startswith("measure")]
    assert parse_loop("\n".join(lines), what="x").measure_s == 210.0


names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12)
seconds = st.floats(1e-4, 1000).filter(lambda value: value == value)


@settings(deadline=None)
@given(
    name=names,
    rate=st.floats(0.01, 9999),
    sources=st.lists(
        st.builds(
            SourceSpec,
            feature=names,
            kind=st.sampled_from([kind for kind in SourceKind if kind is not SourceKind.TEXT]),
            path=st.one_of(st.just(""), names),
            fps=st.one_of(st.just(0.0), st.floats(0.001, 1000)),
            seed=st.integers(0, 2**31),
            on_end=st.sampled_from(OnEnd),
            resize=st.booleans(),
            delay_s=st.one_of(st.just(0.0), st.floats(1e-6, 10)),
            phase_s=st.one_of(st.just(0.0), st.floats(1e-6, 10)),
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda source: source.feature,
    ),
    use=st.integers(1, 8),
    deadlines=st.builds(
        Deadlines.of_tick,
        seconds,
        st.builds(Limit, st.just(Metric.TICK), st.sampled_from(["p50", "p90", "p95", "p999", "max"]), seconds),
        st.builds(Limit, st.just(Metric.AGE), st.sampled_from(sorted(EXCEEDING_SHARES)), seconds),
        st.builds(Limit, st.just(Metric.MISSES), st.just("rate"), st.floats(0, 1)),
        st.builds(Limit, st.just(Metric.MISSES), st.just("run"), st.integers(0, 9).map(float)),
        st.builds(Limit, st.just(Metric.STARVATION), st.just("rate"), st.floats(0, 1)),
    ),
    measure=st.floats(0.01, 86_000),
    mode=st.sampled_from(Mode),
    overrun=st.sampled_from(Overrun),
    threads=st.integers(0, 64),
)
def test_any_loop_is_read_back_as_it_was(name, rate, sources, use, deadlines, measure, mode, overrun, threads):
    loop = LoopSpec(
        name=name,
        rate_hz=rate,
        sources=tuple(sources),
        execution=Execution(use),
        deadlines=deadlines,
        measure_s=measure,
        mode=mode,
        overrun=overrun,
        threads=threads,
    )
    assert parse_loop(dump_loop(loop), what="x") == loop


@pytest.mark.parametrize(
    ("old", "new", "seen"),
    [
        ("loop: v1", "loop: v2", "loop: v1"),
        ("loop: v1", "loop: v1\nspeed: 3", "speed"),
        ("rate: 30Hz", "rate: 30", "rate"),
        ("rate: 30Hz", "rate: fast", "Hz"),
        ("rate: 30Hz", "rate: 0Hz", "rate"),
        ("measure: 70s", "measure: 70", "measure"),
        ("on_end: repeat", "on_end: loop", "loop"),
        ("kind: synthetic", "kind: v4l2", "v4l2"),
        ("kind: synthetic", "kind: synthetic, colour: red", "colour"),
        ("mode: paced", "mode: paced2", "paced2"),
        ("use: 2", "use: 0", "uses 0"),
        ("use: 2", "use: two", "use"),
        ("{p99: period}", "{mean: 33ms}", "tick has no statistic 'mean'"),
        ("{p99: period}", "{p99: 33}", "deadlines.tick.p99: 33 has no unit"),
        ("{p99: period}", "{p99: period}, age: soon", "deadlines.age.p95: 'soon' is no duration"),
        ("{p99: period}", "{p99: period}, misses: 0.01", "misses"),
        ("{p99: period}", "{p99: period}, misses: {rate: 101%}", "misses rate cannot be limited to 1.01"),
        ("{p99: period}", "{p99: period}, misses: {run: 2s}", "deadlines.misses.run: 2s is no number of ticks"),
        ("{p99: period}", f"{{p99: period}}, misses: {{run: {'9' * 400}}}", "is no number of ticks"),
        ("{p99: period}", "{p9.9: period}", "no statistic 'p9.9'"),
        ("{p99: period}", "{p99: period}, misses: {run: -1}", "misses run cannot be limited to -1"),
        ("{p99: period}", "{p99: period}, streak: 1", "streak"),
        ("{p99: period}", "{}", "nothing about the tick"),
        ("kind: synthetic", "kind: synthetic, delay: 20", "delay"),
        ("kind: synthetic", "kind: synthetic, phase: -5ms", "phase"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(old, new, seen):
    assert old in TEXT
    with pytest.raises(LoopSpecError) as caught:
        parse_loop(TEXT.replace(old, new, 1), what="my-loop.yaml")
    assert "my-loop.yaml" in str(caught.value)
    assert seen in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "3", "- a", "loop: [", "\0", "null", "loop: v1"])
def test_a_file_that_is_no_loop_is_refused(text):
    with pytest.raises(LoopSpecError, match="x.yaml"):
        parse_loop(text, what="x.yaml")


@given(st.text(max_size=60))
def test_any_text_gives_one_of_our_errors(text):
    with pytest.raises(LoopSpecError):
        parse_loop(text, what="x")


@pytest.mark.parametrize("sink", ["sink: null", 'sink: "null"'])
def test_the_null_sink_is_understood_with_and_without_quotes(sink):
    lines = [sink if line.startswith("sink:") else line for line in TEXT.splitlines()]
    assert parse_loop("\n".join(lines), what="x").sink == "null"


def test_an_unknown_sink_moves_no_robot():
    lines = ["sink: so101" if line.startswith("sink:") else line for line in TEXT.splitlines()]
    with pytest.raises(LoopSpecError, match="so101"):
        parse_loop("\n".join(lines), what="x")


@pytest.mark.parametrize(("text", "value"), [("500us", 5e-4), ("33ms", 0.033), ("20s", 20.0), ("1.5 min", 90.0)])
def test_durations_carry_their_unit(text, value):
    assert parse_duration_s(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["33", "ms", "-3ms", "3 weeks", "1e3s s", ""])
def test_a_duration_without_sense_is_refused(text):
    with pytest.raises(LoopSpecError, match="unit"):
        parse_duration_s(text)


@pytest.mark.parametrize("text", ["30", "Hz", "30 FPS", "-1Hz"])
def test_a_rate_without_sense_is_refused(text):
    with pytest.raises(LoopSpecError, match="30Hz"):
        parse_rate_hz(text)


def load(tmp_path, loop, policy=None):
    (tmp_path / "loop.yaml").write_text(dump_loop(loop))
    return load_loop(tmp_path / "loop.yaml", policy or tiny_policy())


def test_a_loop_file_that_is_not_there_says_how_to_write_one(tmp_path):
    with pytest.raises(LoopSpecError) as caught:
        load_loop(tmp_path / "loop.yaml", tiny_policy())
    assert "edgectl init" in caught.value.hint


def test_a_loop_that_fits_is_taken_as_it_is(tmp_path):
    loop = derive_loop(tiny_policy(), rate_hz=12.5)
    assert load(tmp_path, loop) == loop


def test_a_loop_must_feed_every_feature_and_no_other(tmp_path):
    loop = derive_loop(tiny_policy())
    with pytest.raises(LoopSpecError, match=r"no source for observation\.state"):
        load(tmp_path, replace(loop, sources=loop.sources[:-1]))
    odd = SourceSpec("observation.depth", SourceKind.SYNTHETIC)
    with pytest.raises(LoopSpecError, match=r"observation\.depth"):
        load(tmp_path, replace(loop, sources=(*loop.sources, odd)))


def test_a_loop_may_not_execute_more_than_is_predicted(tmp_path):
    loop = derive_loop(tiny_policy())
    with pytest.raises(LoopSpecError, match="predicts 4"):
        load(tmp_path, replace(loop, execution=Execution(10)))
