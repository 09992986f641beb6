"""The words and numbers of a report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_host.report.figures import (
    board_words,
    component_rows,
    conditions,
    cures,
    device_words,
    notes,
    outcome_word,
    percentile_words,
    provenance,
    span_rows,
    verdict_parts,
)
from edgectl_host.runs.record import RunRecord
from edgectl_protos.domain.loop import Deadlines, Limit, Metric, Mode
from edgectl_protos.domain.run import Disturbance, Exceedances, Interference, Misses, Percentiles, WarmUp, judge
from edgectl_testkit.runs import counted, device_facts, run_summary


def of(summary) -> RunRecord:
    return RunRecord.of("nuc", summary, None, None)


TICK = Limit(Metric.TICK, "p99", 1 / 30)
AGE = Limit(Metric.AGE, "p95", 0.12)


def found(*exceedances, **changes) -> RunRecord:
    return of(replace(counted(run_summary(), *exceedances), **changes))


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


def test_a_pass_says_how_surely():
    assert verdict_parts(of(run_summary())) == (
        "tick p99 ≤ 33.3 ms: 0 % of 2,100 ticks late (0 to 0.87 %)",
        "tick p99 13.0 ms",
        "age (excludes capture) p99 13.0 ms",
        "30.0 cmd / 15.0 replan Hz",
        "onnxrt fp32 on nuc",
    )
    assert cures(of(run_summary())) == ()


def test_a_fail_says_which_limits_were_broken_and_then_those_that_hold():
    record = found(
        Exceedances(TICK, 2100, 0, 1.0),
        Exceedances(AGE, 2100, 300, 1.0),
        Exceedances(Limit(Metric.STARVATION, "rate", 0.0), 2100, 3, 1.0),
        starved_slots=3,
    )
    assert outcome_word(record) == "FAIL"
    assert verdict_parts(record)[:3] == (
        "age p95 ≤ 120 ms: 14.3 % of 2,100 actions older (12.8 to 15.9 %)",
        "starvation ≤ 0 %: 3 of 2,100 slots starved",
        "pass: tick p99 ≤ 33.3 ms: 0 % of 2,100 ticks late (0 to 0.87 %)",
    )
    assert "starved 3 of 2,100 slots" in verdict_parts(record)
    assert cures(record) == ()


def test_slots_that_were_lost_are_slots():
    record = found(Exceedances(TICK, 2100, 0, 1.0), starved_slots=1200, ticks=309, misses=Misses(1200, 0.6, 9, 1791))
    assert "starved 1,200 of 2,100 slots" in verdict_parts(record)


def test_a_run_of_misses_is_told_by_the_longest_seen():
    deadlines = Deadlines.of_tick(1 / 30, Limit(Metric.MISSES, "run", 2))
    summary = run_summary()
    summary = replace(summary, loop=replace(summary.loop, deadlines=deadlines), misses=Misses(5, 0.002, 5, 0))
    assert verdict_parts(of(summary))[0] == "misses in a row ≤ 2: 5 seen"


def test_too_short_a_run_says_what_would_decide():
    record = found(Exceedances(TICK, 600, 3, 1.0))
    assert outcome_word(record) == "INCONCLUSIVE"
    assert verdict_parts(record)[:2] == (
        "tick p99 ≤ 33.3 ms: 0.50 % of 600 ticks late (0.01 to 3.1 %)",
        "3,037 ticks (101 s) would decide",
    )
    assert cures(record) == ("measure for longer: edgectl profile --measure 112s",)


def test_a_share_at_its_limit_is_no_matter_of_time():
    (cure,) = cures(found(Exceedances(TICK, 2100, 21, 1.0)))
    assert cure.startswith("no run that can be measured would decide")


def test_a_limit_that_the_run_did_not_count_is_named():
    record = of(run_summary())
    record = replace(record, verdict=judge(record.summary, Deadlines.of_tick(0.02)))
    assert verdict_parts(record)[0] == "tick p99 ≤ 20.0 ms: not counted in this run"
    assert "deploy --loop" in cures(record)[0]


def simulated():
    summary = run_summary()
    return replace(summary, components=(replace(summary.components[0], simulated=True),))


def test_a_disturbed_run_says_by_what_and_the_cure():
    record = of(replace(run_summary(), interference=Interference(waited_share=0.31, others_cpus=1.2, suspended_s=3.0)))
    assert outcome_word(record) == "INCONCLUSIVE"
    assert verdict_parts(record)[0] == "machine busy, machine slept"
    assert [cure.split(":")[0] for cure in cures(record)] == [
        "the worker waited for a CPU",
        "the machine slept while the loop ran",
    ]
    assert dict(provenance(record))["machine"] == "waited for a CPU: 31.0 % of service · other processes used 1.20 CPUs"
    assert dict(provenance(of(replace(run_summary(), interference=Interference()))))["machine"] == "not exposed"


def test_every_disturbance_has_a_cure():
    seen = Interference(waited_share=1.0, others_cpus=1.0, throttle_events=3, clock_step_s=60.0, suspended_s=60.0)
    assert len(cures(of(replace(simulated(), interference=seen)))) == len(Disturbance)


def test_a_run_on_a_simulator_says_so_and_judges_no_time():
    record = of(simulated())
    assert outcome_word(record) == "INCONCLUSIVE"
    assert verdict_parts(record)[0] == "simulated"
    assert "to the device itself" in cures(record)[0]


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


def test_a_run_on_a_warm_worker_had_no_cold_start():
    assert dict(provenance(of(replace(run_summary(), cold_start=None))))["cold start"].startswith("warm worker")


def test_frames_that_nobody_read_are_counted():
    assert "frames" not in dict(provenance(of(run_summary())))
    assert dict(provenance(of(replace(run_summary(), unused_frames=4200))))["frames"].startswith("4,200 of the sources")


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
    told = [value for key, value in provenance(record) if key == "parity"]
    assert told == [
        "8 cases · against numpy · synthetic inputs",
        "executed: rmse 2.9e-07 in shoulder (limit 0.005)",
        # Of like figures the one nearest to its limit.
        "taken for another wrist: share 0.02 (limit 0.5)",
        "act: rmse 1e-07 in output chunk (limit 0.005)",
    ]
    assert found["governor"] == "performance"
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


def test_parity_has_a_row_for_every_kind_and_a_gate_left_to_the_device_is_named(several):
    rows = provenance(several)
    assert [value.split(":")[0] for key, value in rows if key == "parity"][1:] == ["executed", "step 1/4"]
    assert dict(rows)["gate"] == "parity of prefix: pending on the device, decided there"
    undecided = replace(several, deployment=replace(several.deployment, parity=None))
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
        deployment=replace(record.deployment, parity=None),
    )
    assert dict(provenance(unproved))["parity"].startswith("not proved on the device")


def test_a_temperature_has_its_start_and_highest():
    warm = replace(run_summary(), temperature_start_c=41.2, temperature_max_c=63.0)
    assert dict(provenance(of(warm)))["temperature"] == "41 °C at the start, highest seen 63 °C"
