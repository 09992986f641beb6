"""The words and numbers of a report, as plain strings: terminal and Markdown lay out the same ones. Pure.

A percentile below its sample floor reads `n/a (need N)`, and a stand-in is named wherever its figures are.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from edgectl_host.quantities import bytes_words, time_words
from edgectl_host.runs.record import RunRecord
from edgectl_protos.domain.deployment import ParityFigure
from edgectl_protos.domain.device import DeviceFacts
from edgectl_protos.domain.run import SAMPLE_FLOORS, Check, Outcome, Percentiles, RunSummary, Verdict

__all__ = [
    "COLUMNS",
    "StageRow",
    "board_words",
    "device_words",
    "notes",
    "outcome_word",
    "percentile_words",
    "provenance",
    "stage_rows",
    "verdict_parts",
]

COLUMNS = ("p50", "p95", "p99")
_DASH = time_words(None)


@dataclass(frozen=True, slots=True)
class StageRow:
    """One line of the waterfall; `share` is a fraction of the summed service time."""

    stage: str
    n: int
    cells: tuple[str, ...]
    share: float | None


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
    """Runtime, precision and device of a run."""
    summary = record.summary
    name = f"{record.device} ({board_words(summary.facts)})" if summary.facts.stand_in_for else record.device
    return f"{summary.runtime} {summary.precision_used} on {name}"


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


def stage_rows(summary: RunSummary) -> tuple[StageRow, ...]:
    """The waterfall: every stage, then the overhead that no stage accounts for, then the whole tick."""
    rows = [
        StageRow(
            f"{stage.id} {stage.op}" if stage.op not in ("", stage.id) else stage.id,
            stage.times.n,
            _cells(stage.times),
            stage.share,
        )
        for stage in summary.stages
    ]
    nothing = (_DASH,) * (len(COLUMNS) + 1)
    rows.append(StageRow("ovh unaccounted", summary.ticks, nothing, summary.overhead_share))
    rows.append(StageRow("tick service", summary.service.n, _cells(summary.service), None))
    rows.append(StageRow("tick response", summary.response.n, _cells(summary.response), None))
    rows.append(StageRow("obs→action age", summary.age.n, _cells(summary.age), None))
    return tuple(rows)


def notes(record: RunRecord) -> str:
    """What stages say about themselves, such as a normalisation that the graph does."""
    said = [f"{stage.id}: {stage.note}" for stage in record.summary.stages if stage.note]
    return " · ".join(said)


def provenance(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """What ran, where it comes from, at which precision actually, and under which conditions."""
    summary, facts, manifest = record.summary, record.summary.facts, record.manifest
    rows = [("release", f"{summary.name} · {summary.release}")]
    if manifest is not None:
        source = manifest.provenance
        rows.append(("checkpoint", f"{source.checkpoint} · {source.policy} by {source.source}"))
        rows.extend(
            ("step", f"{step.name}: {step.tool}{_options(step.options)} · {step.toolchain} {step.lock[:12]}")
            for step in source.steps
        )
    else:
        rows.append(("checkpoint", "not known here: the release was deployed by another host"))
    asked, used = summary.precision_asked, summary.precision_used
    rows.append(("precision", f"{used}, as asked" if asked == used else f"{asked} asked, {used} USED"))
    rows.append(("runtime", f"{summary.runtime} {summary.runtime_version} · provider {summary.provider}"))
    rows.extend(("parity", words) for words in _parity(record))
    rows.append(("board", f"{board_words(facts)}{_on_board(facts)} · {facts.arch} · {facts.os}"))
    rows.append(("kernel", f"{facts.kernel}{' PREEMPT_RT' if facts.preempt_rt else ''} · {facts.libc}"))
    rows.append(("cpu", f"{facts.cpu_model} · {facts.cpu_count} cores · {_isa(facts)}"))
    rows.append(("threads", f"{summary.threads} · process used {summary.cpu_utilisation:.0%} of them"))
    rows.append(("governor", f"{facts.governor or 'not exposed'} · load {facts.load_1min:.2f} before the run"))
    rows.append(("temperature", _temperature(summary)))
    rows.append(("loop", _loop(summary)))
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


def _parity_words(figure: ParityFigure) -> str:
    return (
        f"{figure.output}: largest error {figure.max_abs_of_range:.1e} of the range, cosine {figure.cosine:.6f}, "
        f"{figure.cases} cases"
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


def _loop(summary: RunSummary) -> str:
    loop = summary.loop
    pace = f"{loop.mode.value} at {loop.rate_hz:g} Hz, overruns {loop.overrun.value}"
    if loop.mode.value == "closed":
        pace = "closed: as fast as it goes, no evidence of pacing"
    sources = ", ".join(dict.fromkeys(source.kind.value for source in loop.sources))
    execution = loop.execution
    return f"{loop.name} · {pace} · {execution.use} of {execution.chunk} actions a chunk · {sources} sources"


def _warm_up(summary: RunSummary) -> str:
    warm_up = summary.warm_up
    met = "" if warm_up.met else " · NOT STEADY: the cap was reached before two windows agreed"
    return f"{warm_up.inferences} inferences in {time_words(warm_up.seconds)}, discarded{met}"
