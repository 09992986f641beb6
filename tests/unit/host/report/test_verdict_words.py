"""The words of a verdict."""

from __future__ import annotations

from dataclasses import replace

from edgectl_host.report.figures import outcome_word
from edgectl_host.report.provenance import provenance
from edgectl_host.report.verdict_words import cures, verdict_parts
from edgectl_host.runs.record import RunRecord
from edgectl_protos.domain.interference import Disturbance, Interference
from edgectl_protos.domain.loop import Deadlines, Limit, Metric
from edgectl_protos.domain.run import Exceedances, Misses
from edgectl_protos.domain.verdict import judge
from edgectl_testkit.runs import counted, run_summary


def of(summary) -> RunRecord:
    return RunRecord.of("nuc", summary, None, None)


TICK = Limit(Metric.TICK, "p99", 1 / 30)
AGE = Limit(Metric.AGE, "p95", 0.12)


def found(*exceedances, **changes) -> RunRecord:
    return of(replace(counted(run_summary(), *exceedances), **changes))


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
