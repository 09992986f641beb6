"""The words and numbers of a report, as plain strings: terminal and Markdown lay out the same ones. Pure.

A percentile below its sample floor reads `n/a (need N)`, and a stand-in is named wherever its figures are.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from edgectl_host.components import as_asked, components_words
from edgectl_host.quantities import time_words
from edgectl_host.report.floors import size_rows
from edgectl_host.report.parity import parity_rows
from edgectl_host.runs.record import RunRecord
from edgectl_protos.domain.artifact import precision_of
from edgectl_protos.domain.device import ComponentFacts, DeviceFacts
from edgectl_protos.domain.loop import Limit, LoopSpec, Metric
from edgectl_protos.domain.policy import Repeat, Step
from edgectl_protos.domain.run import (
    SAMPLE_FLOORS,
    Check,
    Disturbance,
    Outcome,
    Percentiles,
    RunSummary,
    SpanFigures,
    Verdict,
)

__all__ = [
    "COLUMNS",
    "ComponentRow",
    "SpanRow",
    "board_words",
    "component_rows",
    "conditions",
    "cures",
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


def verdict_parts(record: RunRecord) -> tuple[str, ...]:
    """What follows the word of the verdict, in parts that a line may be broken between: what disturbed the run, each
    limit with how surely it holds (the worst first), then the figures of every run.
    """
    summary, rates = record.summary, record.summary.rates
    parts = [] if record.verdict is None else _verdict_words(summary.loop, record.verdict)
    parts.append(_tail_part("tick", summary.response))
    parts.append(_tail_part(_age_name(summary.loop), summary.age))
    if summary.starved_slots:
        slots = summary.ticks + summary.misses.skipped
        parts.append(f"starved {summary.starved_slots:,} of {slots:,} slots")
    parts.append(f"{rates.command_hz:.1f} cmd / {rates.replan_hz:.1f} replan Hz")
    parts.append(device_words(record))
    return tuple(parts)


def cures(record: RunRecord) -> tuple[str, ...]:
    """What would make an inconclusive run decide; nothing where the verdict stands."""
    verdict = record.verdict
    if verdict is None or verdict.outcome is not Outcome.INCONCLUSIVE:
        return ()
    if verdict.disturbances:
        return tuple(_CURES[disturbance] for disturbance in verdict.disturbances)
    found = []
    ticks = [check.deciding_ticks for check in verdict.checks if check.deciding_ticks is not None]
    if ticks:
        # A little more than it takes, since the next run will not be the same.
        seconds = math.ceil(1.1 * max(ticks) / record.summary.loop.rate_hz)
        found.append(f"measure for longer: edgectl profile --measure {seconds}s")
    undecided = [check for check in verdict.checks if check.outcome is Outcome.INCONCLUSIVE]
    if any(check.counted and check.n and check.deciding_ticks is None for check in undecided):
        found.append("no run that can be measured would decide: set a limit that the share is clearly on one side of")
    if any(not check.counted for check in undecided):
        found.append("measure again with these deadlines in the loop: edgectl deploy --loop")
    return tuple(found)


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
    rows.append(SpanRow(_age_name(summary.loop), summary.age.n, _cells(summary.age), None))
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
    rows.extend(("parity", words) for words in parity_rows(record))
    rows.extend(("gate", words) for words in _left_open(record))
    rows.append(("board", f"{board_words(facts)}{_on_board(facts)} · {facts.arch} · {facts.os}"))
    rows.append(("kernel", f"{facts.kernel}{' PREEMPT_RT' if facts.preempt_rt else ''} · {facts.libc}"))
    rows.append(("cpu", f"{facts.cpu_model} · {facts.cpu_count} cores · {_isa(facts)}"))
    rows.append(("threads", f"{summary.threads} · process used {summary.cpu_utilisation:.0%} of them"))
    rows.append(("governor", facts.governor or "not exposed"))
    rows.append(("machine", _interference(summary)))
    rows.append(("temperature", _temperature(summary)))
    rows.append(("loop", _loop(record)))
    rows.append(("warm-up", _warm_up(summary)))
    rows.append(("cold start", _cold_start(summary)))
    if summary.unused_frames:
        rows.append(("frames", f"{summary.unused_frames:,} of the sources came and went between two reads"))
    rows.extend(size_rows(record))
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


def _tail_part(name: str, values: Percentiles) -> str:
    tail = values.tail
    if tail is None:
        return f"{name} n/a ({values.n} ticks, need {SAMPLE_FLOORS['p50']})"
    return f"{name} {_percentile_name(tail[0])} {time_words(tail[1])}"


_ORDER = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)
_CURES = {
    Disturbance.BUSY: "the worker waited for a CPU: end what else runs on the device, then: edgectl profile",
    Disturbance.THROTTLED: "the CPU was slowed down for its heat: cool the device, then: edgectl profile",
    Disturbance.CLOCK_STEPPED: "the wall clock was set while the loop ran: let it settle, then: edgectl profile",
    Disturbance.SUSPENDED: "the machine slept while the loop ran: keep it awake, then: edgectl profile",
    Disturbance.SIMULATED: "a simulator shows values and no times: deploy to the device itself: edgectl deploy",
}
_OVER = {
    Metric.TICK: ("ticks", "late"),
    Metric.AGE: ("actions", "older"),
    Metric.MISSES: ("ticks", "missed"),
    Metric.STARVATION: ("slots", "starved"),
}


def _verdict_words(loop: LoopSpec, verdict: Verdict) -> list[str]:
    parts = [", ".join(disturbance.value for disturbance in verdict.disturbances)] if verdict.disturbances else []
    for check in sorted(verdict.checks, key=lambda each: _ORDER.index(each.outcome)):
        word = "" if check.outcome is verdict.outcome else f"{check.outcome.value}: "
        parts.append(f"{word}{_limit_words(check.limit)}: {_check_words(check)}")
        if check.deciding_ticks is not None:
            parts.append(f"{check.deciding_ticks:,} ticks ({check.deciding_ticks / loop.rate_hz:.0f} s) would decide")
    return parts


def _limit_words(limit: Limit) -> str:
    if limit.statistic == "rate":
        return f"{limit.metric.value} ≤ {_share_words(limit.share)}"
    if limit.statistic == "run":
        return f"misses in a row ≤ {limit.limit:.0f}"
    return f"{limit.metric.value} {_percentile_name(limit.statistic)} ≤ {time_words(limit.limit)}"


def _check_words(check: Check) -> str:
    if not check.counted:
        return "not counted in this run"
    if check.limit.statistic == "run":
        return f"{check.observed or 0:.0f} seen"
    things, over = _OVER[check.limit.metric]
    if not check.n:
        return f"no {things}"
    if check.low is None or check.high is None:
        return f"{check.count:,} of {check.n:,} {things} {over}"
    return f"{_share_words(check.count / check.n)} of {check.n:,} {things} {over} ({_interval(check.low, check.high)})"


def _interval(low: float, high: float) -> str:
    return f"{_share_words(low).removesuffix(' %')} to {_share_words(high)}"


def _share_words(share: float) -> str:
    """A percentage with two significant digits at least; all digits of a small one would be noise."""
    percent = 100 * share
    return f"{percent:.{0 if percent in (0, 100) else 2 if percent < 0.95 else 1}f} %"


def _age_name(loop: LoopSpec) -> str:
    return "obs→action age" if any(source.is_dated for source in loop.sources) else "age (excludes capture)"


def _clock_words(summary: RunSummary) -> str:
    found = summary.interference
    if found.clock_start_hz is None or found.clock_end_hz is None or found.clock_min_hz is None:
        return "clocks not exposed"
    start, end, least = (f"{hz / 1e9:.2f}" for hz in (found.clock_start_hz, found.clock_end_hz, found.clock_min_hz))
    return f"clocks {start} → {end} GHz (min {least})"


def _interference(summary: RunSummary) -> str:
    found = summary.interference
    shares = (
        ("waited for a CPU: {} of service", found.waited_share),
        ("CPU pressure {} of the time", found.pressure_share),
    )
    words = [text.format(_share_words(share)) for text, share in shares if share is not None]
    cpus = (
        ("other processes used {:.2f} CPUs", found.others_cpus),
        ("the hypervisor took {:.2f} CPUs", found.stolen_cpus),
    )
    words += [text.format(count) for text, count in cpus if count is not None]
    if found.involuntary_switches is not None:
        words.append(f"{found.involuntary_switches:,} involuntary switches")
    if found.throttle_events is not None:
        words.append(f"throttled {found.throttle_events} times")
    return " · ".join(words) or "not exposed"


def _cold_start(summary: RunSummary) -> str:
    cold = summary.cold_start
    if cold is None:
        return "warm worker: it ran before"
    return (
        f"first action {time_words(cold.first_action_s)} (imports {time_words(cold.import_s)}, load "
        f"{time_words(cold.load_s)}, first inference {time_words(cold.first_inference_s)})"
    )


def _percentile_name(name: str) -> str:
    return {"p999": "p99.9"}.get(name, name)


def _options(options: dict[str, str]) -> str:
    words = ", ".join(f"{key}={value}" for key, value in sorted(options.items()))
    return f" ({words})" if words else ""


def _left_open(record: RunRecord) -> list[str]:
    """Gates that the host could not run: whether the device's own has decided since is in the parity rows."""
    gates = record.manifest.gates if record.manifest else ()
    decided = bool(record.deployment and record.deployment.parity)
    return [
        f"{gate.gate} of {gate.subject}: pending on the device{', decided there' if decided else ', NOT DECIDED'}"
        for gate in gates
        if gate.pending
    ]


def _on_board(facts: DeviceFacts) -> str:
    return f" (this machine: {facts.board or 'unknown board'})" if facts.stand_in_for else ""


def _isa(facts: DeviceFacts) -> str:
    return " ".join(facts.isa) or "no vector instructions known"


def _temperature(summary: RunSummary) -> str:
    start, highest = summary.temperature_start_c, summary.temperature_max_c
    if start is None or highest is None:
        return "no sensor"
    return f"{start:.0f} °C at the start, highest seen {highest:.0f} °C"


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
