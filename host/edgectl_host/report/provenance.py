"""What ran, where it comes from, at which precision actually, and under which conditions: rows of a report. Pure."""

from __future__ import annotations

import time

from edgectl_host.quantities import share_words, time_words
from edgectl_host.report.figures import board_words, precision_words
from edgectl_host.report.floors import size_rows
from edgectl_host.report.parity import parity_rows
from edgectl_host.runs.record import RunRecord
from edgectl_protos.domain.device import DeviceFacts
from edgectl_protos.domain.run import RunSummary

__all__ = ["provenance"]


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
        rows.append(("precision", precision_words(only)))
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


def _interference(summary: RunSummary) -> str:
    found = summary.interference
    shares = (
        ("waited for a CPU: {} of service", found.waited_share),
        ("CPU pressure {} of the time", found.pressure_share),
    )
    words = [text.format(share_words(share)) for text, share in shares if share is not None]
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
