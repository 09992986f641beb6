"""The words and numbers of a report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_host.report.figures import (
    board_words,
    device_words,
    notes,
    outcome_word,
    percentile_words,
    provenance,
    stage_rows,
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


def test_the_waterfall_has_every_stage_the_overhead_and_the_whole_tick():
    rows = stage_rows(run_summary())
    assert [row.stage for row in rows] == [
        "dec decode", "act model", "pub publish", "ovh unaccounted", "tick service", "tick response", "obs→action age",
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
    assert found["checkpoint"] == f"sha256:{'ef' * 32} · act by lerobot"
    steps = [value for key, value in rows if key == "step"]
    assert steps == [
        "export: lerobot (torch=2.13.0+cpu) · lerobot abababababab",
        "build: onnxrt (precision=fp32) · host cdcdcdcdcdcd",
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
    assert dict(provenance(of(replace(run_summary(), precision_used="bf16"))))["precision"] == "fp32 asked, bf16 USED"


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
