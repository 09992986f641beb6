"""A run with everything that a report can tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgectl_host.runs.record import RunRecord
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import MANIFEST_NAME, GateResult, Manifest, Provenance, ToolRun
from edgectl_protos.domain.deployment import Deployment, State
from edgectl_protos.domain.parity import DimensionFigure, ParityFigure, ParityReport
from edgectl_testkit.bundles import tiny_bundle
from edgectl_testkit.runs import run_summary, several_components
from edgectl_testkit.stub_bundles import Part, stub_bundle


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    manifest = from_bytes(Manifest, tiny_bundle(tmp_path / "bundle")[1], what=MANIFEST_NAME)
    tools = (
        ToolRun("export", "lerobot", {"torch": "2.13.0+cpu"}, "lerobot", "ab" * 32),
        ToolRun("build", "onnxrt", {"scheme": "fp32"}, "host", "cd" * 32),
    )
    manifest = replace(manifest, provenance=Provenance(Digest("ef" * 32), "lerobot", tools))
    summary = run_summary()
    spans = (replace(summary.spans[0], note="video"), *summary.spans[1:])
    summary = replace(summary, spans=spans)
    parity = ParityReport(
        8,
        (
            ParityFigure("executed", "rmse", 2.9e-7, 5e-3, "shoulder"),
            ParityFigure("taken for another state", "share", 1e-3, 0.5),
            ParityFigure("taken for another wrist", "share", 2e-2, 0.5),
            ParityFigure("act", "rmse", 1e-7, 5e-3, "output chunk"),
        ),
        (
            DimensionFigure("shoulder", 2.9e-6, 8e-6, 10.0, 10.0, 9.5, 0.9999995),
            DimensionFigure("gripper", 0.0, 0.0, 0.5, 0.5, None, None, unequal=0.125),
        ),
    )
    deployment = Deployment("d-1", summary.release, "tiny", State.COMMITTED, "me@here", 1.0, 2.0, parity=parity)
    return RunRecord.of("bench-nuc", summary, deployment, manifest)


@pytest.fixture
def several(record, tmp_path: Path) -> RunRecord:
    """A run of three components, the last of them in a loop, one gate left to the device."""
    parts = (Part("vision", "openvino", "int8"), Part("prefix", "openvino", "bf16"), Part("step", "onnxrt", passes=4))
    data = (stub_bundle(tmp_path / "several", name="several", parts=parts) / MANIFEST_NAME).read_bytes()
    manifest = from_bytes(Manifest, data, what=MANIFEST_NAME)
    manifest = replace(manifest, gates=(GateResult("parity", "prefix", 0.0, 0.05, False, pending=True),))
    figures = (
        ParityFigure("executed", "rmse", 3.0e-2, 0.1, "shoulder"),
        ParityFigure("vision", "rmse", 2.0e-2, 0.3, "output tokens"),
        ParityFigure("step 1/4", "rmse", 6.0e-2, 0.3, "output v"),
    )
    deployment = replace(record.deployment, parity=ParityReport(8, figures))
    return RunRecord.of("bench-nuc", several_components(record.summary), deployment, manifest)
