"""The words and numbers of a report, as plain strings: terminal and Markdown lay out the same ones. Pure.

A percentile below its sample floor reads `n/a (need N)`, and a stand-in is named wherever its figures are.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgectl_host.components import as_asked, components_words
from edgectl_host.quantities import time_words
from edgectl_host.runs.record import RunRecord
from edgectl_protos.domain.artifact import precision_of
from edgectl_protos.domain.device import ComponentFacts, DeviceFacts
from edgectl_protos.domain.loop import LoopSpec
from edgectl_protos.domain.program import Repeat, Step
from edgectl_protos.domain.run import SAMPLE_FLOORS, Percentiles, RunSummary, SpanFigures

__all__ = [
    "COLUMNS",
    "ComponentRow",
    "SpanRow",
    "age_name",
    "board_words",
    "component_rows",
    "conditions",
    "device_words",
    "notes",
    "outcome_word",
    "percentile_words",
    "precision_words",
    "span_rows",
]

COLUMNS = ("p50", "p95", "p99")
_DASH = time_words(None)


@dataclass(frozen=True, slots=True)
class SpanRow:
    """One line of the waterfall; `share` is a fraction of the summed service time, None for a pass or a whole."""

    step: str
    n: int
    cells: tuple[str, ...]
    share: float | None
    is_pass: bool = False


@dataclass(frozen=True, slots=True)
class ComponentRow:
    """One component as it was loaded; `loud`: at another precision than its scheme asks for."""

    name: str
    runtime: str
    scheme: str
    precision: str
    provider: str
    loud: bool


def percentile_words(values: Percentiles, name: str) -> str:
    """One percentile, or how many samples it would need."""
    value: float | None = getattr(values, name)
    return time_words(value) if value is not None else f"n/a (need {SAMPLE_FLOORS[name]})"


def outcome_word(record: RunRecord) -> str:
    """PASS, FAIL, INCONCLUSIVE or CAPACITY."""
    return record.outcome.upper()


def board_words(facts: DeviceFacts) -> str:
    """The board, or what this machine stands in for: never the one for the other."""
    return f"stand-in for {facts.stand_in_for}" if facts.stand_in_for else facts.board


def device_words(record: RunRecord) -> str:
    """Runtimes, precisions and device of a run."""
    summary = record.summary
    name = f"{record.device} ({board_words(summary.facts)})" if summary.facts.stand_in_for else record.device
    return f"{components_words(summary.components)} on {name}"


def precision_words(component: ComponentFacts) -> str:
    """The precision that was used, and the one that was asked for where it is another."""
    used, asked = component.precision, precision_of(component.scheme)
    scheme = "" if component.scheme == asked else f" ({component.scheme})"
    return f"{used}, as asked{scheme}" if as_asked(component) else f"{asked} asked{scheme}, {used} USED"


def age_name(loop: LoopSpec) -> str:
    """What the age of an action is counted from."""
    return "obs→action age" if any(source.is_dated for source in loop.sources) else "age (excludes capture)"


def conditions(record: RunRecord) -> tuple[str, ...]:
    """The first line: how much was measured, with what, and beside what."""
    summary = record.summary
    loop = summary.loop
    pace = "closed" if record.verdict is None else f"at {loop.rate_hz:g} Hz"
    return (
        f"{summary.ticks:,} ticks {pace}",
        f"{summary.threads} {'thread' if summary.threads == 1 else 'threads'}",
        _clock_words(summary),
        f"load {summary.facts.load_1min:.2f}",
        f"edgectl {summary.agent_version or 'of unknown version'}",
    )


def span_rows(record: RunRecord) -> tuple[SpanRow, ...]:
    """The waterfall: every step, in a loop each pass below it, then the overhead that no step accounts for, then the
    whole tick. A step inside a loop is named with its loop where the program is known here.
    """
    summary = record.summary
    paths = _paths(record.manifest.program.steps) if record.manifest else {}
    rows = []
    for span in summary.spans:
        path = paths.get(span.id, span.id)
        rows.append(SpanRow(_label(path, span), span.times.n, _cells(span.times), span.share))
        rows.extend(
            SpanRow(f"  {path} {index}/{len(span.passes)}", times.n, _cells(times), None, is_pass=True)
            for index, times in enumerate(span.passes, 1)
        )
    nothing = (_DASH,) * (len(COLUMNS) + 1)
    rows.append(SpanRow("ovh unaccounted", summary.ticks, nothing, summary.overhead_share))
    rows.append(SpanRow("tick service", summary.service.n, _cells(summary.service), None))
    rows.append(SpanRow("tick response", summary.response.n, _cells(summary.response), None))
    if record.verdict is not None:
        rows.append(SpanRow("wake-up latency", summary.wake.n, _cells(summary.wake), None))
        rows.append(SpanRow("period jitter", summary.jitter.n, _cells(summary.jitter), None))
    rows.append(SpanRow(age_name(summary.loop), summary.age.n, _cells(summary.age), None))
    return tuple(rows)


def component_rows(record: RunRecord) -> tuple[ComponentRow, ...]:
    """The components of a release that has several; one alone is told in the provenance."""
    components = record.summary.components
    if len(components) < 2:
        return ()
    return tuple(
        ComponentRow(
            component.name,
            f"{component.runtime} {component.runtime_version}",
            component.scheme,
            precision_words(component),
            component.provider,
            not as_asked(component),
        )
        for component in components
    )


def notes(record: RunRecord) -> str:
    """What steps say about themselves, such as a normalisation that the graph does."""
    said = [f"{span.id}: {span.note}" for span in record.summary.spans if span.note]
    return " · ".join(said)


def _label(path: str, span: SpanFigures) -> str:
    what = span.component or span.op
    return path if what in ("", path, span.id) else f"{path} {what}"


def _paths(steps: tuple[Step, ...], prefix: str = "") -> dict[str, str]:
    """Where each step stands: `denoise.step` for a step of the loop `denoise`."""
    found = {}
    for step in steps:
        found[step.id] = f"{prefix}{step.id}"
        if isinstance(step, Repeat):
            found |= _paths(step.steps, f"{prefix}{step.id}.")
    return found


def _cells(times: Percentiles) -> tuple[str, ...]:
    return (*(percentile_words(times, name) for name in COLUMNS), time_words(times.max))


def _clock_words(summary: RunSummary) -> str:
    found = summary.interference
    if found.clock_start_hz is None or found.clock_end_hz is None or found.clock_min_hz is None:
        return "clocks not exposed"
    start, end, least = (f"{hz / 1e9:.2f}" for hz in (found.clock_start_hz, found.clock_end_hz, found.clock_min_hz))
    return f"clocks {start} → {end} GHz (min {least})"
