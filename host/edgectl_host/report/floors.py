"""Measured times against floors, and measured sizes against what was estimated before. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgectl_converters.floors import board_ceiling
from edgectl_converters.route import memory_estimate
from edgectl_host.quantities import bytes_words, time_words
from edgectl_host.runs.record import RunRecord
from edgectl_profiles.library import load, names
from edgectl_profiles.schema import Unit
from edgectl_protos.domain.roofline import Ceiling, calls_of, floor_of, weight_bytes

__all__ = ["FLOOR_COLUMNS", "FloorRow", "floor_rows", "size_rows"]

FLOOR_COLUMNS = ("component", "operations", "floor", "bound by", "p50", "× floor")


@dataclass(frozen=True, slots=True)
class FloorRow:
    """A component in one inference: what it takes at least, and what it took in the median. `measured`: the floor is of
    rates that were measured on the machine, not of its maker's documents.
    """

    component: str
    operations: int
    floor_s: float
    bound: str
    measured: bool
    p50_s: float | None

    @property
    def cells(self) -> tuple[str, ...]:
        """As `FLOOR_COLUMNS` name them."""
        times = f"{self.p50_s / self.floor_s:.2f}×" if self.p50_s is not None and self.floor_s else "–"
        by = f"{self.bound}, {'measured' if self.measured else 'by documents'}"
        return (
            self.component,
            f"{self.operations / 1e9:.3g} G",
            time_words(self.floor_s),
            by,
            time_words(self.p50_s),
            times,
        )


def floor_rows(record: RunRecord, measured: Mapping[Unit, Ceiling]) -> tuple[FloorRow, ...]:
    """A row for each component whose floor is known on the machine that ran it: by rates that were `measured` there,
    else by its board's figures. What a stand-in stands for has no part in it.
    """
    manifest, summary = record.manifest, record.summary
    if manifest is None:
        return ()
    profile = load(summary.facts.board) if summary.facts.board in names() else None
    calls, rows = calls_of(manifest.program), []
    for component in manifest.components:
        count, work = calls.get(component.name, 0), component.work
        entry = profile.runtime(component.runtime) if profile is not None else None
        unit: Unit = entry.unit if entry else "cpu"
        ceiling = measured.get(unit) or (board_ceiling(profile, unit) if profile is not None else Ceiling())
        floor = floor_of(work, component.scheme, ceiling) if work is not None and count else None
        if work is None or floor is None:
            continue
        medians = [span.times.p50 for span in summary.spans if span.component == component.name]
        known = [median for median in medians if median is not None]
        p50 = sum(known) if known and len(known) == len(medians) else None
        rows.append(
            FloorRow(component.name, work.operations * count, floor.seconds * count, floor.bound, ceiling.measured, p50)
        )
    return tuple(rows)


def size_rows(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """What was held in memory and lies on disk, against what was estimated from the number of weights."""
    manifest, peak = record.manifest, record.summary.peak_rss_bytes
    works = [component.work for component in manifest.components] if manifest is not None else []
    if manifest is None or None in works:
        return (("peak memory", bytes_words(peak)),)
    disk = sum(file.size_bytes for component in manifest.components for file in manifest.files_of(component))
    estimated = int(sum(c.work.weights * weight_bytes(c.scheme) for c in manifest.components if c.work is not None))
    return (
        ("peak memory", _against(peak, memory_estimate(estimated))),
        ("artifacts", _against(disk, estimated)),
    )


def _against(measured: int, estimated: int) -> str:
    times = f", {measured / estimated:.2f}× of {bytes_words(estimated)} estimated" if estimated else ""
    return f"{bytes_words(measured)}{times}"
