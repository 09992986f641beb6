"""The words and numbers of a report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_host.report.figures import (
    board_words,
    component_rows,
    device_words,
    notes,
    outcome_word,
    percentile_words,
    provenance,
    span_rows,
    verdict_parts,
)
from edgectl_host.runs.record import RunRecord
from edgectl_protos.domain.loop import Deadlines, Mode
from edgectl_protos.domain.run import Misses, Percentiles, WarmUp
from edgectl_testkit.runs import device_facts, run_summary


def of(summary) -> RunRecord:
    return RunRecord.of("nuc", summary, None, None)


def with_deadlines(**limits):
    summary = run_summary()
    return replace(summary, loop=replace(summary.loop, deadlines=Deadlines(**limits)))


def test_a_pass_says_by_how_much():
    assert verdict_parts(of(run_summary())) == (
        "tick p99 13.0 ms ≤ 33.3 ms",
        "age p99 13.0 ms",
        "misses 0.0 % (run 0)",
        "30.0 cmd / 15.0 replan Hz",
        "onnxrt fp32 on nuc",
    )


def test_a_fail_says_which_limits_were_broken():
    summary = replace(with_deadlines(tick_s=0.010, age_s=0.012), misses=Misses(12, 0.024, 5, 0), starved_ticks=3)
    record = of(summary)
    assert outcome_word(record) == "FAIL"
    assert verdict_parts(record)[:4] == (
        "tick p99 13.0 ms > 10.0 ms",
        "age p99 13.0 ms > 12.0 ms",
        "misses 2.4 % > 1.0 % (run 5 > 2)",
        "starved 3 of 500 ticks",
    )


def test_too_few_samples_say_how_many_are_needed():
    record = of(replace(run_summary(), response=Percentiles(12)))
    assert outcome_word(record) == "INCONCLUSIVE"
    assert verdict_parts(record)[0] == "tick n/a (12 ticks, need 30)"


def test_a_closed_run_is_capacity_without_limits_or_misses():
    summary = run_summary()
    record = of(replace(summary, loop=replace(summary.loop, mode=Mode.CLOSED)))
    assert outcome_word(record) == "CAPACITY"
    assert verdict_parts(record)[0] == "tick p99 13.0 ms"
    assert not any("misses" in part for part in verdict_parts(record))
    assert dict(provenance(record))["loop"].startswith("tiny · closed: as fast as it goes, no evidence of pacing")


@pytest.mark.parametrize(("name", "need"), [("p50", 30), ("p90", 64), ("p95", 90), ("p99", 459), ("p999", 4603)])
def test_a_percentile_below_its_floor_says_what_it_needs(name, need):
    assert percentile_words(Percentiles(5), name) == f"n/a (need {need})"


def test_the_waterfall_has_every_step_the_overhead_and_the_whole_tick():
    rows = span_rows(of(run_summary()))
    assert [row.step for row in rows] == [
        "dec decode", "act", "pub publish", "ovh unaccounted", "tick service", "tick response", "obs→action age",
    ]  # fmt: skip
    assert rows[0].cells == ("1.20 ms", "1.40 ms", "n/a (need 459)", "2.00 ms")
    assert rows[3].share == pytest.approx(0.002)


def test_a_stand_in_is_named_wherever_the_device_is():
    record = of(run_summary(stand_in_for="raspberry-pi-5"))
    assert "stand-in for raspberry-pi-5" in verdict_parts(record)[-1]
    assert "stand-in for raspberry-pi-5 (this machine: generic-x86_64)" in dict(provenance(record))["board"]
    assert board_words(device_facts()) == "generic-x86_64"
    assert "stand-in" not in device_words(of(run_summary()))


def test_provenance_tells_where_everything_comes_from(record):
    rows = provenance(record)
    found = dict(rows)
    assert found["release"] == f"tiny · sha256:{'ab' * 32}"
    assert found["checkpoint"] == f"sha256:{'ef' * 32} · tiny by lerobot"
    tools = [value for key, value in rows if key == "tool"]
    assert tools == [
        "export: lerobot (torch=2.13.0+cpu) · lerobot abababababab",
        "build: onnxrt (scheme=fp32) · host cdcdcdcdcdcd",
    ]
    assert found["precision"] == "fp32, as asked"
    assert "provider CPUExecutionProvider" in found["runtime"]
    assert "largest error 2.9e-07 of the range" in found["parity"]
    assert found["parity"].endswith("against numpy, synthetic inputs")
    assert found["governor"] == "performance · load 0.10 before the run"
    assert found["temperature"] == "no sensor"
    assert found["peak memory"] == "188.7 MB"
    assert notes(record) == "dec: video"


def test_a_precision_that_was_not_asked_for_is_loud():
    summary = run_summary()
    bf16 = replace(summary, components=(replace(summary.components[0], precision="bf16"),))
    assert dict(provenance(of(bf16)))["precision"] == "fp32 asked, bf16 USED"


def test_a_written_out_scheme_is_as_asked_at_the_precision_that_it_computes_in():
    summary = run_summary()
    int4 = replace(summary.components[0], scheme="w4g64/a16", precision="fp16")
    assert dict(provenance(of(replace(summary, components=(int4,)))))["precision"] == "fp16, as asked (w4g64/a16)"


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


def test_parity_has_a_row_for_every_tensor_and_a_gate_left_to_the_device_is_named(several):
    rows = provenance(several)
    assert [value.split(":")[0] for key, value in rows if key == "parity"] == ["from.vision", "action"]
    assert dict(rows)["gate"] == "parity of prefix: pending on the device, decided there"
    undecided = replace(several, deployment=replace(several.deployment, parity=()))
    assert dict(provenance(undecided))["gate"].endswith("NOT DECIDED")


def test_one_component_needs_no_table():
    assert component_rows(of(run_summary())) == ()


def test_a_warm_up_that_never_settled_is_loud():
    assert "NOT STEADY" in dict(provenance(of(replace(run_summary(), warm_up=WarmUp(200, 60.0, False)))))["warm-up"]


def test_what_this_host_does_not_know_is_said_and_not_left_out(record):
    assert "not known here" in dict(provenance(of(run_summary())))["checkpoint"]
    assert dict(provenance(of(run_summary())))["parity"] == "not known here"
    unproved = replace(
        record,
        manifest=replace(record.manifest, golden=None),
        deployment=replace(record.deployment, parity=()),
    )
    assert dict(provenance(unproved))["parity"].startswith("not proved on the device")


def test_a_temperature_has_its_start_and_peak():
    warm = replace(run_summary(), temperature_start_c=41.2, temperature_peak_c=63.0)
    assert dict(provenance(of(warm)))["temperature"] == "41 °C → 63 °C"
