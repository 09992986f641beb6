from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_host.report.floors import floor_rows, size_rows
from edgectl_host.report.markdown import report as markdown
from edgectl_host.runs.record import RunRecord
from edgectl_host.workflows.convert import BundleSubject
from edgectl_protos.domain.roofline import Ceiling, Work
from edgectl_testkit.bundles import tiny_bundle
from edgectl_testkit.runs import device_facts, run_summary

WORK = Work(operations=500_000_000, weights=1_000_000, port_bytes=1_000)
MEASURED = {"cpu": Ceiling({"fp32": 100e9}, 10e9, measured=True)}


@pytest.fixture
def record(tmp_path):
    manifest = BundleSubject.read(tiny_bundle(tmp_path / "bundle")[0]).manifest
    components = tuple(replace(one, name="act", runtime="onnxrt", work=WORK) for one in manifest.components)
    files = tuple(
        replace(file, path=file.path.replace(f"components/{manifest.components[0].name}/", "components/act/"))
        for file in manifest.files
    )
    steps = tuple(replace(s, component="act") if hasattr(s, "component") else s for s in manifest.program.steps)
    program = replace(manifest.program, steps=steps)
    manifest = replace(manifest, components=components, files=files, program=program)
    return RunRecord.of("bench", run_summary(), None, manifest)


def test_the_median_stands_against_the_floor_of_measured_rates(record):
    (row,) = floor_rows(record, MEASURED)
    assert (row.component, row.bound, row.measured) == ("act", "compute", True)
    assert row.floor_s == pytest.approx(5e-3)
    assert row.p50_s == pytest.approx(8.5e-3)
    assert row.cells[-1] == "1.70×"


def test_without_rates_the_board_speaks_and_a_stand_in_is_not_the_board(record):
    assert floor_rows(record, {}) == ()
    stand_in = replace(device_facts(), stand_in_for="raspberry-pi-5")
    assert floor_rows(replace(record, summary=replace(record.summary, facts=stand_in)), {}) == ()
    pi = replace(device_facts(), board="raspberry-pi-5")
    (row,) = floor_rows(replace(record, summary=replace(record.summary, facts=pi)), {})
    assert (row.bound, row.measured) == ("compute", False)
    assert row.floor_s == pytest.approx(500e6 / 0.154e12)


def test_a_release_of_another_host_has_no_floor(record):
    assert floor_rows(replace(record, manifest=None), MEASURED) == ()


def test_a_median_below_its_sample_floor_is_no_median(record):
    spans = tuple(replace(span, times=replace(span.times, p50=None)) for span in record.summary.spans)
    (row,) = floor_rows(replace(record, summary=replace(record.summary, spans=spans)), MEASURED)
    assert row.p50_s is None
    assert row.cells[-2:] == ("–", "–")


def test_sizes_stand_beside_what_was_estimated(record):
    rows = dict(size_rows(record))
    assert "of 4.0 MB estimated" in rows["artifacts"]
    assert rows["peak memory"].startswith("188.7 MB, 1.15× of 163.7 MB estimated")
    assert dict(size_rows(replace(record, manifest=None))) == {"peak memory": "188.7 MB"}


def test_the_markdown_has_the_floors_too(record):
    assert "| act | 0.5 G | 5.00 ms | compute, measured | 8.50 ms | 1.70× |" in markdown(record, MEASURED)
