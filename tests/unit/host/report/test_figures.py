"""The words and numbers of a report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_host.report.figures import (
    component_rows,
    conditions,
    device_words,
    outcome_word,
    percentile_words,
    span_rows,
)
from edgectl_host.report.provenance import provenance
from edgectl_host.report.verdict_words import verdict_parts
from edgectl_host.runs.record import RunRecord
from edgectl_protos.domain.interference import Interference
from edgectl_protos.domain.loop import Mode
from edgectl_protos.domain.run import Percentiles
from edgectl_testkit.runs import run_summary


def of(summary) -> RunRecord:
    return RunRecord.of("nuc", summary, None, None)


def test_the_first_line_says_how_it_was_measured():
    assert conditions(of(run_summary())) == (
        "2,100 ticks at 30 Hz",
        "2 threads",
        "clocks 2.10 → 2.10 GHz (min 1.90)",
        "load 0.10",
        "edgectl 0.1",
    )
    bare = of(replace(run_summary(), threads=1, interference=Interference(), agent_version=""))
    assert conditions(bare)[1:3] == ("1 thread", "clocks not exposed")
    assert conditions(bare)[-1] == "edgectl of unknown version"


def test_a_source_that_knows_when_its_frames_were_taken_has_its_capture_in_the_age():
    summary = run_summary()
    source = replace(summary.loop.sources[0], delay_s=0.02)
    dated = replace(summary, loop=replace(summary.loop, sources=(source, *summary.loop.sources[1:])))
    assert verdict_parts(of(dated))[2] == "obs→action age p99 13.0 ms"
    assert span_rows(of(dated))[-1].step == "obs→action age"


def test_a_closed_run_is_capacity_without_limits_or_misses():
    summary = run_summary()
    record = of(replace(summary, loop=replace(summary.loop, mode=Mode.CLOSED)))
    assert outcome_word(record) == "CAPACITY"
    assert verdict_parts(record)[0] == "tick p99 13.0 ms"
    assert conditions(record)[0] == "2,100 ticks closed"
    assert not any("wake" in row.step for row in span_rows(record))
    assert dict(provenance(record))["loop"].startswith("tiny · closed: as fast as it goes, no evidence of pacing")


@pytest.mark.parametrize(("name", "need"), [("p50", 30), ("p90", 64), ("p95", 90), ("p99", 459), ("p999", 4603)])
def test_a_percentile_below_its_floor_says_what_it_needs(name, need):
    assert percentile_words(Percentiles(5), name) == f"n/a (need {need})"


def test_the_waterfall_has_every_step_the_overhead_and_the_whole_tick():
    rows = span_rows(of(run_summary()))
    assert [row.step for row in rows] == [
        "dec decode", "act", "pub publish", "ovh unaccounted", "tick service", "tick response", "wake-up latency",
        "period jitter", "age (excludes capture)",
    ]  # fmt: skip
    assert rows[0].cells == ("1.20 ms", "1.40 ms", "n/a (need 459)", "2.00 ms")
    assert rows[3].share == pytest.approx(0.002)


def test_each_pass_of_a_loop_has_its_own_row_below_their_sum(several):
    rows = span_rows(several)
    assert [row.step for row in rows][:7] == [
        "vision", "prefix", "loop.step.step", *(f"  loop.step.step {index}/4" for index in range(1, 5)),
    ]  # fmt: skip
    assert rows[2].share == pytest.approx(0.2)
    assert [row.share for row in rows[3:7]] == [None] * 4
    assert rows[4].cells[0] == "1.20 ms"
    # Without the program nobody knows in which loop the step stands.
    assert span_rows(replace(several, manifest=None))[2].step == "step"


def test_several_components_have_a_row_each_and_say_what_they_really_use(several):
    assert device_words(several) == "openvino+onnxrt int8+fp32 on bench-nuc"
    rows = component_rows(several)
    assert [(row.name, row.scheme, row.precision) for row in rows] == [
        ("vision", "int8", "int8, as asked"),
        ("prefix", "bf16", "bf16 asked, fp32 USED"),
        ("step", "fp32", "fp32, as asked"),
    ]
    assert [row.loud for row in rows] == [False, True, False]
    assert {"precision", "runtime"}.isdisjoint(dict(provenance(several)))


def test_one_component_needs_no_table():
    assert component_rows(of(run_summary())) == ()
