"""The report on a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from edgectl_host.report.terminal import report, verdict_line
from edgectl_protos.domain.run import Percentiles

SNAPSHOT = """\
PASS  2,100 ticks at 30 Hz · 2 threads · clocks 2.10 → 2.10 GHz (min 1.90) · load 0.10 · edgectl 0.1
      tick p99 ≤ 33.3 ms: 0 % of 2,100 ticks late (0 to 0.87 %) · tick p99 13.0 ms
      age (excludes capture) p99 13.0 ms · 30.0 cmd / 15.0 replan Hz · onnxrt fp32 on bench-nuc

step                       n      p50      p95             p99      max   share
dec decode               250  1.20 ms  1.40 ms  n/a (need 459)  2.00 ms  12.0 %  █▎
act                      250  8.50 ms  9.90 ms  n/a (need 459)  13.0 ms  87.0 %  ████████▊
pub publish              500    10 µs    10 µs           20 µs        –   1.0 %  ▏
ovh unaccounted         2100        –        –               –        –   0.2 %
tick service            2100  10.0 ms  11.5 ms         13.0 ms  15.0 ms
tick response           2100  10.0 ms  11.5 ms         13.0 ms  15.0 ms
wake-up latency          500    20 µs    40 µs          100 µs   300 µs
period jitter            500   100 µs   800 µs         2.00 ms  4.00 ms
age (excludes capture)  2100  10.0 ms  11.5 ms         13.0 ms  15.0 ms
dec: video
"""


def printed(record, width: int, **options) -> list[str]:
    console = Console(width=width, **options)
    with console.capture() as captured:
        console.print(report(record, width), highlight=False)
    return [line.rstrip() for line in captured.get().split("\n")]


def test_the_verdict_comes_first_then_the_waterfall(record):
    assert printed(record, 100)[: SNAPSHOT.count("\n")] == SNAPSHOT.splitlines()


@pytest.mark.parametrize("width", [100, 80])
def test_nothing_is_wider_than_the_terminal_and_nothing_is_cut_off(record, width):
    lines = printed(record, width)
    assert max(map(len, lines)) <= width
    assert "…" not in "\n".join(lines)
    # The digest is wrapped in a narrow terminal, and whole all the same.
    assert "ab" * 32 in "".join(line.strip() for line in lines)


def test_a_narrow_terminal_gets_no_bars(record):
    assert "█" not in "\n".join(printed(record, 80))


def test_the_widest_cells_fit_a_hundred_columns(record):
    rare = Percentiles(20, min=0.0012, max=0.0999)
    spans = tuple(replace(span, times=rare) for span in record.summary.spans)
    summary = replace(record.summary, spans=spans, response=rare, service=rare, age=rare)
    lines = printed(replace(record, summary=summary), 100)
    assert max(map(len, lines)) <= 100
    assert "…" not in "\n".join(lines)


def test_colour_is_there_when_asked_for_and_only_then(record):
    first = printed(record, 100, force_terminal=True, color_system="standard")[0]
    assert first.startswith("\x1b[1;32mPASS\x1b[0m  2,100 ticks")
    assert "\x1b" not in "\n".join(printed(record, 100))


def test_the_words_of_every_verdict_stand_apart_from_the_figures(record):
    failed = replace(record, verdict=None)
    assert verdict_line(failed, 100).plain.startswith("CAPACITY  2,100 ticks closed")


@pytest.mark.parametrize("width", [100, 80])
def test_several_components_stand_above_the_waterfall_and_fit(several, width):
    lines = printed(several, width)
    assert max(map(len, lines)) <= width
    assert "…" not in "\n".join(lines)
    head = next(index for index, line in enumerate(lines) if line.startswith("component "))
    assert lines[head].split() == ["component", "runtime", "scheme", "precision", "used", "provider"]
    assert any(line.startswith("prefix") and "bf16 asked, fp32 USED" in line for line in lines)
    waterfall = next(index for index, line in enumerate(lines) if " p50 " in line)
    assert waterfall > head + 3
    if width == 100:  # in a narrow one the label is folded
        assert lines[waterfall + 4].startswith("  loop.step.step 1/4")
