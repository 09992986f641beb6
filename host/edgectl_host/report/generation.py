"""How fast a text is generated, in words, and its floor: reading weights and cache once for each token. Pure."""

from __future__ import annotations

from edgectl_host.quantities import bytes_words, time_words
from edgectl_host.runs.record import RunRecord
from edgectl_protos.domain.run import SAMPLE_FLOORS, Generation, MemoryReads, Percentiles

__all__ = ["floor_s", "generation_rows"]


def generation_rows(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """Time to first token, time between tokens, rate, and the floor that memory sets; nothing where no text is made."""
    summary = record.summary
    several = len(summary.generations) > 1
    found = []
    for one in summary.generations:
        name = f"{one.step}: " if several else ""
        first, after = one.first_token, one.next_token
        prompt = f"prompt of {one.prompt_tokens:,} tokens"
        if first.p50:
            prompt += f", {one.prompt_tokens / first.p50:,.0f} tokens/s"
        found.append((f"{name}first token", f"{_times(first)} · {prompt}"))
        found.append((f"{name}next token", f"{_times(after)} · {after.n:,} tokens"))
        found.append((f"{name}decoding", f"{one.tokens_per_s:,.1f} tokens/s"))
        found.append((f"{name}memory", _memory(one, summary.memory_reads)))
    return tuple(found)


def floor_s(generation: Generation, reads: MemoryReads | None) -> float | None:
    """The least time of a token on this device; None where the runtime or the device does not say."""
    return generation.token_bytes / reads.bytes_per_s if generation.token_bytes and reads is not None else None


def _memory(generation: Generation, reads: MemoryReads | None) -> str:
    least = floor_s(generation, reads)
    if least is None or reads is None:
        return "the runtime does not say how many bytes a token reads"
    words = (
        f"{bytes_words(generation.token_bytes)} a token · this device reads {reads.bytes_per_s / 1e9:.1f} GB/s "
        f"(fastest of {reads.passes} passes over {bytes_words(reads.size_bytes)}, {reads.threads} threads): "
        f"{time_words(least)} a token at least"
    )
    seen = generation.next_token.p50
    if seen is None:
        return words
    if seen < least:
        return f"{words}; the median is below it, so caches hold what is read"
    return f"{words}, {least / seen:.0%} of the median"


def _times(values: Percentiles) -> str:
    return " · ".join(
        f"{name} {time_words(value)}"
        if (value := getattr(values, name)) is not None
        else f"{name} n/a (need {SAMPLE_FLOORS[name]})"
        for name in ("p50", "p95", "p99")
    )
