"""The words and numbers of a report, as plain strings: terminal and Markdown lay out the same ones. Pure.

A percentile below its sample floor reads `n/a (need N)`, and a stand-in is named wherever its figures are.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from edgectl_host.components import as_asked, components_words
from edgectl_host.quantities import bytes_words, time_words
from edgectl_host.runs.record import RunRecord
from edgectl_protos.domain.artifact import precision_of
from edgectl_protos.domain.deployment import ParityFigure
from edgectl_protos.domain.device import ComponentFacts, DeviceFacts
from edgectl_protos.domain.policy import Repeat, Step
from edgectl_protos.domain.run import SAMPLE_FLOORS, Check, Outcome, Percentiles, RunSummary, SpanFigures, Verdict

__all__ = [
    "COLUMNS",
    "ComponentRow",
    "SpanRow",
    "board_words",
    "component_rows",
    "device_words",
    "notes",
    "outcome_word",
    "percentile_words",
    "provenance",
    "span_rows",
    "verdict_parts",
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


def verdict_parts(record: RunRecord) -> tuple[str, ...]:
    """What follows the word of the verdict, in parts that a line may be broken between."""
    summary, rates = record.summary, record.summary.rates
    checks = {(check.name, check.statistic): check for check in record.verdict.checks} if record.verdict else {}
    parts = [_tail_part("tick", summary.response, record.verdict)]
    parts.append(_tail_part("age", summary.age, record.verdict))
    if record.verdict is not None:
        parts.append(_misses_part(summary, checks))
    if summary.starved_ticks:
        parts.append(f"starved {summary.starved_ticks} of {summary.ticks} ticks")
    parts.append(f"{rates.command_hz:.1f} cmd / {rates.replan_hz:.1f} replan Hz")
    parts.append(device_words(record))
    return tuple(parts)


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
    rows.append(SpanRow("obs→action age", summary.age.n, _cells(summary.age), None))
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
            _precision_words(component),
            component.provider,
            not as_asked(component),
        )
        for component in components
    )


def notes(record: RunRecord) -> str:
    """What steps say about themselves, such as a normalisation that the graph does."""
    said = [f"{span.id}: {span.note}" for span in record.summary.spans if span.note]
    return " · ".join(said)


def provenance(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """What ran, where it comes from, at which precision actually, and under which conditions."""
    summary, facts, manifest = record.summary, record.summary.facts, record.manifest
    rows = [("release", f"{summary.name} · {summary.release}")]
    if manifest is not None:
        source = manifest.provenance
        rows.append(("checkpoint", f"{source.checkpoint} · {manifest.policy.type} by {source.source}"))
        rows.extend(
            ("tool", f"{run.name}: {run.tool}{_options(run.options)} · {run.toolchain} {run.lock[:12]}".rstrip())
            for run in source.tools
        )
    else:
        rows.append(("checkpoint", "not known here: the release was deployed by another host"))
    if len(summary.components) == 1:
        only = summary.components[0]
        rows.append(("precision", _precision_words(only)))
        rows.append(("runtime", f"{only.runtime} {only.runtime_version} · provider {only.provider}"))
    rows.extend(("parity", words) for words in _parity(record))
    rows.extend(("gate", words) for words in _left_open(record))
    rows.append(("board", f"{board_words(facts)}{_on_board(facts)} · {facts.arch} · {facts.os}"))
    rows.append(("kernel", f"{facts.kernel}{' PREEMPT_RT' if facts.preempt_rt else ''} · {facts.libc}"))
    rows.append(("cpu", f"{facts.cpu_model} · {facts.cpu_count} cores · {_isa(facts)}"))
    rows.append(("threads", f"{summary.threads} · process used {summary.cpu_utilisation:.0%} of them"))
    rows.append(("governor", f"{facts.governor or 'not exposed'} · load {facts.load_1min:.2f} before the run"))
    rows.append(("temperature", _temperature(summary)))
    rows.append(("loop", _loop(record)))
    rows.append(("warm-up", _warm_up(summary)))
    cold = summary.cold_start
    rows.append(
        (
            "cold start",
            f"first action {time_words(cold.first_action_s)} (imports {time_words(cold.import_s)}, load "
            f"{time_words(cold.load_s)}, first inference {time_words(cold.first_inference_s)})",
        )
    )
    rows.append(("peak memory", bytes_words(summary.peak_rss_bytes)))
    when = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(summary.started_s))
    rows.append(("run", f"{summary.run_id} · {when} · {summary.ticks} ticks in {time_words(summary.measured_s)}"))
    return tuple(rows)


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


def _precision_words(component: ComponentFacts) -> str:
    used, asked = component.precision, precision_of(component.scheme)
    scheme = "" if component.scheme == asked else f" ({component.scheme})"
    return f"{used}, as asked{scheme}" if as_asked(component) else f"{asked} asked{scheme}, {used} USED"


def _cells(times: Percentiles) -> tuple[str, ...]:
    return (*(percentile_words(times, name) for name in COLUMNS), time_words(times.max))


def _tail_part(name: str, values: Percentiles, verdict: Verdict | None) -> str:
    check = next((c for c in verdict.checks if c.name == name), None) if verdict else None
    tail = values.tail
    if tail is None:
        return f"{name} n/a ({values.n} ticks, need {SAMPLE_FLOORS['p50']})"
    text = f"{name} {_percentile_name(tail[0])} {time_words(tail[1])}"
    if check is None:
        return text
    return f"{text} {'>' if check.outcome is Outcome.FAIL else '≤'} {time_words(check.limit)}"


def _misses_part(summary: RunSummary, checks: dict[tuple[str, str], Check]) -> str:
    misses = summary.misses
    rate, run = f"{misses.rate:.1%}".replace("%", " %"), f"run {misses.longest_run}"
    rate_check, run_check = checks.get(("misses", "rate")), checks.get(("misses", "run"))
    if rate_check is not None and rate_check.outcome is Outcome.FAIL:
        rate += f" > {rate_check.limit:.1%}".replace("%", " %")
    if run_check is not None and run_check.outcome is Outcome.FAIL:
        run += f" > {run_check.limit:.0f}"
    return f"misses {rate} ({run})"


def _percentile_name(name: str) -> str:
    return {"p999": "p99.9"}.get(name, name)


def _options(options: dict[str, str]) -> str:
    words = ", ".join(f"{key}={value}" for key, value in sorted(options.items()))
    return f" ({words})" if words else ""


def _parity(record: RunRecord) -> list[str]:
    figures = record.deployment.parity if record.deployment else ()
    golden = record.manifest.golden if record.manifest else None
    if not figures:
        no_cases = record.manifest is not None and golden is None
        return ["not proved on the device: the release has no golden cases" if no_cases else "not known here"]
    against = f" · against {golden.reference}, {golden.inputs_kind} inputs" if golden else ""
    return [_parity_words(figure) + against for figure in figures]


def _left_open(record: RunRecord) -> list[str]:
    """Gates that the host could not run: whether the device's own has decided since is in the parity rows."""
    gates = record.manifest.gates if record.manifest else ()
    decided = bool(record.deployment and record.deployment.parity)
    return [
        f"{gate.gate} of {gate.subject}: pending on the device{', decided there' if decided else ', NOT DECIDED'}"
        for gate in gates
        if gate.pending
    ]


def _parity_words(figure: ParityFigure) -> str:
    return (
        f"{figure.tensor}: largest error {figure.max_abs_of_range:.1e} of the range, cosine {figure.cosine:.6f}, "
        f"{figure.cases} {'case' if figure.cases == 1 else 'cases'}{'' if figure.passed else ', FAILED'}"
    )


def _on_board(facts: DeviceFacts) -> str:
    return f" (this machine: {facts.board or 'unknown board'})" if facts.stand_in_for else ""


def _isa(facts: DeviceFacts) -> str:
    return " ".join(facts.isa) or "no vector instructions known"


def _temperature(summary: RunSummary) -> str:
    start, peak = summary.temperature_start_c, summary.temperature_peak_c
    if start is None and peak is None:
        return "no sensor"
    return " → ".join(f"{value:.0f} °C" for value in (start, peak) if value is not None)


def _loop(record: RunRecord) -> str:
    loop = record.summary.loop
    pace = f"{loop.mode.value} at {loop.rate_hz:g} Hz, overruns {loop.overrun.value}"
    if loop.mode.value == "closed":
        pace = "closed: as fast as it goes, no evidence of pacing"
    sources = ", ".join(dict.fromkeys(source.kind.value for source in loop.sources))
    execution = loop.execution
    return f"{loop.name} · {pace} · {execution.use}{_of_chunk(record)} actions a chunk · {sources} sources"


def _of_chunk(record: RunRecord) -> str:
    return f" of {record.manifest.policy.chunk_size}" if record.manifest else ""


def _warm_up(summary: RunSummary) -> str:
    warm_up = summary.warm_up
    met = "" if warm_up.met else " · NOT STEADY: the cap was reached before two windows agreed"
    return f"{warm_up.inferences} inferences in {time_words(warm_up.seconds)}, discarded{met}"
