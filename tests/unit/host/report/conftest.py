"""A run with everything that a report can tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgectl_host.runs.record import RunRecord
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest, Provenance, Step
from edgectl_protos.domain.deployment import Deployment, ParityFigure, State
from edgectl_testkit.bundles import tiny_bundle
from edgectl_testkit.runs import run_summary


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    manifest = from_bytes(Manifest, tiny_bundle(tmp_path / "bundle")[1], what=MANIFEST_NAME)
    steps = (
        Step("export", "lerobot", {"torch": "2.13.0+cpu"}, "lerobot", "ab" * 32),
        Step("build", "onnxrt", {"precision": "fp32"}, "host", "cd" * 32),
    )
    manifest = replace(manifest, provenance=Provenance(Digest("ef" * 32), "lerobot", "act", steps))
    summary = run_summary()
    stages = (replace(summary.stages[0], note="video"), *summary.stages[1:])
    summary = replace(summary, stages=stages)
    figure = ParityFigure("action", 8, 1e-6, 2.9e-7, 0.9999995, True)
    deployment = Deployment("d-1", summary.release, "tiny", State.COMMITTED, "me@here", 1.0, 2.0, parity=(figure,))
    return RunRecord.of("bench-nuc", summary, deployment, manifest)
