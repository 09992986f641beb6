"""Where the figures of a report come from."""

from __future__ import annotations

from dataclasses import replace

from edgectl_host.report.figures import (
    board_words,
    device_words,
    notes,
)
from edgectl_host.report.provenance import provenance
from edgectl_host.report.verdict_words import verdict_parts
from edgectl_host.runs.record import RunRecord
from edgectl_protos.domain.run import WarmUp
from edgectl_testkit.runs import counted, device_facts, run_summary


def of(summary) -> RunRecord:
    return RunRecord.of("nuc", summary, None, None)


def found(*exceedances, **changes) -> RunRecord:
    return of(replace(counted(run_summary(), *exceedances), **changes))


def test_a_run_on_a_warm_worker_had_no_cold_start():
    assert dict(provenance(of(replace(run_summary(), cold_start=None))))["cold start"].startswith("warm worker")


def test_frames_that_nobody_read_are_counted():
    assert "frames" not in dict(provenance(of(run_summary())))
    assert dict(provenance(of(replace(run_summary(), unused_frames=4200))))["frames"].startswith("4,200 of the sources")


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


def test_parity_has_a_row_for_every_kind_and_a_gate_left_to_the_device_is_named(several):
    rows = provenance(several)
    assert [value.split(":")[0] for key, value in rows if key == "parity"][1:] == ["executed", "step 1/4"]
    assert dict(rows)["gate"] == "parity of prefix: pending on the device, decided there"
    undecided = replace(several, deployment=replace(several.deployment, parity=None))
    assert dict(provenance(undecided))["gate"].endswith("NOT DECIDED")


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
