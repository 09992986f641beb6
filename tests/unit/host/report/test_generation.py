"""Generated texts in the report: on the terminal, in Markdown, and against the floor that memory sets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from edgectl_host.report import markdown, terminal
from edgectl_host.report.generation import floor_s, generation_rows
from edgectl_protos.domain.run import Generation, MemoryReads, Percentiles

SAID = Generation(
    step="generate",
    component="model",
    prompt_tokens=12,
    first_token=Percentiles(40, 0.003, 0.004, max=0.01),
    next_token=Percentiles(1240, 0.0008, 0.001, 0.0011, 0.0012, 0.002, None, 0.004),
    tokens_per_s=980.0,
    token_bytes=5_000_000,
)
READS = MemoryReads(20e9, 256 << 20, 7, 2)


@pytest.fixture
def spoken(record):
    return replace(record, summary=replace(record.summary, generations=(SAID,), memory_reads=READS))


def test_a_run_without_texts_has_no_such_rows(record):
    assert generation_rows(record) == ()


def test_the_rows_say_times_rate_and_floor(spoken):
    rows = dict(generation_rows(spoken))
    assert rows == {
        "first token": "p50 4.00 ms · p95 n/a (need 90) · p99 n/a (need 459) · prompt of 12 tokens, 3,000 tokens/s",
        "next token": "p50 1.00 ms · p95 1.20 ms · p99 2.00 ms · 1,240 tokens",
        "decoding": "980.0 tokens/s",
        "memory": "5.0 MB a token · this device reads 20.0 GB/s (fastest of 7 passes over 268.4 MB, 2 threads): "
        "250 µs a token at least, 25% of the median",
    }
    assert floor_s(SAID, READS) == pytest.approx(0.00025)


def test_a_median_below_the_floor_is_a_cache(spoken):
    fast = replace(SAID, next_token=replace(SAID.next_token, p50=0.0001))
    rows = dict(generation_rows(replace(spoken, summary=replace(spoken.summary, generations=(fast,)))))
    assert rows["memory"].endswith("the median is below it, so caches hold what is read")


@pytest.mark.parametrize("changed", [{"memory_reads": None}, {"generations": (replace(SAID, token_bytes=0),)}])
def test_what_is_not_known_is_said(spoken, changed):
    rows = dict(generation_rows(replace(spoken, summary=replace(spoken.summary, **changed))))
    assert rows["memory"] == "the runtime does not say how many bytes a token reads"


def test_terminal_and_markdown_have_the_same_rows(spoken):
    console = Console(width=100)
    with console.capture() as captured:
        console.print(terminal.report(spoken, 100), highlight=False)
    written = markdown.report(spoken)
    for name, words in generation_rows(spoken):
        assert f"| {name} | {words} |" in written
        assert name in captured.get()
    assert "980.0 tokens/s" in captured.get()
