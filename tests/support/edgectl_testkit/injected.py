"""A release with a fault put into it, and what the gates measure of that.

A fault is an edit of the release's own files (manifest, arrays, graphs), or is put into the session that runs it.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgectl_agent.worker.release import read_npz, read_release
from edgectl_agent.worker.session import Session
from edgectl_converters.targets.onnxrt import OnnxRuntimeTarget
from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest
from edgectl_protos.domain.errors import NonFiniteError
from edgectl_protos.domain.parity import ParityFigure, ParityReport
from edgectl_protos.domain.program import Repeat, Step

__all__ = ["Fault", "Laid", "Seen", "as_oracle", "measure", "seen", "trace"]

Array = npt.NDArray[Any]


@dataclass(slots=True)
class Laid:
    """A release in a folder of its own, whose files may be changed."""

    folder: Path

    @classmethod
    def copy(cls, release: Path, folder: Path) -> Laid:
        """A copy whose files are links until they are changed."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(release, folder, copy_function=os.link)
        return cls(folder)

    @property
    def manifest(self) -> Manifest:
        """As it stands."""
        return read_release(self.folder).manifest

    def change_manifest(self, changed: Manifest) -> None:
        """Write another manifest."""
        self._fresh(MANIFEST_NAME).write_bytes(canonical_bytes(changed))

    def change_steps(self, change: Callable[[Step], Step]) -> None:
        """Change every step of the program, also those inside loops."""

        def changed(step: Step) -> Step:
            if isinstance(step, Repeat):
                step = replace(step, steps=tuple(map(changed, step.steps)))
            return change(step)

        manifest = self.manifest
        steps = tuple(map(changed, manifest.program.steps))
        self.change_manifest(replace(manifest, program=replace(manifest.program, steps=steps)))

    def change_arrays(self, **changes: Callable[[Array], Array]) -> None:
        """Change arrays that the program's steps name."""
        name = self.manifest.program.arrays
        arrays = read_npz(self.folder / name)
        for key, change in changes.items():
            arrays[key] = change(arrays[key].copy()).astype(arrays[key].dtype)
        np.savez(self._fresh(name), allow_pickle=False, **arrays)

    def keep_cases(self, count: int) -> None:
        """Leave the first golden cases only, where a policy is slow."""
        manifest = self.manifest
        golden = manifest.golden
        assert golden is not None
        for name in filter(None, (golden.path, golden.trace)):
            arrays = read_npz(self.folder / name)
            np.savez(self._fresh(name), allow_pickle=False, **{key: rows[:count] for key, rows in arrays.items()})
        self.change_manifest(replace(manifest, golden=replace(golden, count=count)))

    def graph(self, component: str) -> onnx.ModelProto:
        """A component's graph."""
        return onnx.load(self._entry(component))

    def change_graph(self, component: str, changed: onnx.ModelProto) -> None:
        """Write another graph."""
        path = self._entry(component)
        path.unlink()
        onnx.save(changed, path)

    def _entry(self, component: str) -> Path:
        found = self.manifest.component(component)
        assert found is not None
        return self.folder / found.folder / found.entry

    def _fresh(self, name: str) -> Path:
        path = self.folder / name
        path.unlink()
        return path


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: what a reader calls it, and how it gets in. `inside`: a fault of the session, of no file."""

    name: str
    inject: Callable[[Laid], None] = field(default=lambda laid: None)
    inside: Callable[[Session], None] | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """The figure that sees a fault best, among those that the faultless build passes, and its value without."""

    figure: ParityFigure
    without: float | None

    @property
    def refused(self) -> bool:
        """Whether the fault is refused."""
        return not self.figure.passed


def measure(release: Path, fault: Fault | None = None) -> ParityReport:
    """Parity of a release as the device's worker finds it; of values that are not finite a figure that says so."""
    session = Session(release, 1, started_s=0.0)
    try:
        if fault is not None and fault.inside is not None:
            fault.inside(session)
        report = session.parity(lambda share: None)
    except NonFiniteError as exc:
        return ParityReport(0, (ParityFigure("not finite", exc.message, 1.0, 0.0),))
    finally:
        session.close()
    assert report is not None
    return report


def trace(release: Path, out: Path) -> ParityReport:
    """How far an oracle is from the golden actions."""
    session = Session(release, 1, started_s=0.0)
    try:
        return session.trace(out, lambda share: None)
    finally:
        session.close()


def seen(report: ParityReport, faultless: ParityReport) -> Seen:
    """What sees the fault: the figure farthest beyond its limit, of those that the faultless build passes."""

    def key(figure: ParityFigure) -> tuple[str, str]:
        return figure.subject, figure.statistic

    before = {key(one): one for one in _figures(faultless)}
    fair = [one for one in _figures(report) if key(one) not in before or before[key(one)].passed]
    best = max(fair, key=lambda one: one.value / one.limit if one.limit else math.inf if not one.passed else 0.0)
    if (known := before.get(key(best))) is not None:
        return Seen(best, known.value)
    # What passes a limit of 0 was 0, whichever figure of the subject was the worst then.
    return Seen(best, None if best.limit else 0.0)


def _figures(report: ParityReport) -> Iterator[ParityFigure]:
    """All figures, and that of the executed actions for each dimension apart, of which the gate takes the worst."""
    yield from report.figures
    executed = next((one for one in report.figures if (one.subject, one.statistic) == ("executed", "rmse")), None)
    if executed is not None:
        for one in report.dimensions:
            yield replace(executed, subject=f"executed {one.name}", value=one.rmse / one.scale, at="")


def as_oracle(laid: Laid) -> None:
    """Make it the release that an oracle runs: the graphs as exported, and no trace."""
    manifest = laid.manifest
    assert manifest.golden is not None
    options = dict(OnnxRuntimeTarget.oracle or {})
    components = tuple(replace(one, options=options) for one in manifest.components)
    laid.change_manifest(replace(manifest, components=components, golden=replace(manifest.golden, trace="")))
