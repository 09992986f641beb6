"""What the parity gate says of a release, and the traces that it compares with."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np

from edgectl_agent.worker.parity import run_parity, run_trace
from edgectl_agent.worker.release import Release
from edgectl_agent.worker.trace import write_trace
from edgectl_protos.domain.artifact import Digest, FileEntry
from edgectl_protos.domain.parity import DimensionFigure, ParityFigure, ParityReport
from edgectl_testkit.bundles import tiny_golden
from edgectl_testkit.executors import ExecutorMaker

__all__ = [
    "failing",
    "figure_of",
    "ignore",
    "parity",
    "rewritten",
    "subjects",
    "traced",
    "with_manifest",
    "with_trace",
]


def ignore(share: float) -> None:
    """Progress that nobody looks at."""


def parity(release: Release, maker: ExecutorMaker | None = None, seen: list[float] | None = None) -> Any:
    """The gate's report; None where there are no golden cases."""
    return run_parity(release, maker or ExecutorMaker(release), ignore if seen is None else seen.append)


def with_manifest(release: Release, **changes: Any) -> Release:
    """The release, with another manifest."""
    return replace(release, manifest=replace(release.manifest, **changes))


def rewritten(release: Release, **arrays: Any) -> Release:
    """The release, with other golden data."""
    np.savez(release.path("golden.npz"), **(tiny_golden() | arrays))
    return release


def with_trace(release: Release, arrays: dict[str, Any]) -> Release:
    """The release, with this trace."""
    write_trace(release.path("trace.npz"), arrays)
    manifest = release.manifest
    assert manifest.golden is not None
    data = release.path("trace.npz").read_bytes()
    entry = FileEntry("trace.npz", len(data), Digest(hashlib.sha256(data).hexdigest()))
    files = (*(file for file in manifest.files if file.path != "trace.npz"), entry)
    return with_manifest(release, files=files, golden=replace(manifest.golden, trace="trace.npz"))


def traced(release: Release) -> Release:
    """The release with the trace that an oracle over its own graphs writes."""
    return with_trace(release, run_trace(release, ExecutorMaker(release), ignore)[1])


def subjects(report: ParityReport) -> list[str]:
    """Of what it has figures."""
    return [figure.subject for figure in report.figures]


def figure_of(report: ParityReport, subject: str, statistic: str = "") -> ParityFigure | DimensionFigure:
    """One of its figures."""
    found = [figure for figure in report.figures if figure.subject == subject]
    return next(figure for figure in found if not statistic or figure.statistic == statistic)


def failing(report: ParityReport) -> set[str]:
    """What missed its limit."""
    return {figure.subject for figure in report.failures}
