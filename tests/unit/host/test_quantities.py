"""Durations and sizes as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_host.quantities import bytes_words, parse_byte_rate, parse_share, share_words, time_words
from edgectl_protos.domain.errors import UsageError


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (0.0, "0 µs"),
        (3.2e-7, "320 ns"),
        (0.000646, "646 µs"),
        (0.00982, "9.82 ms"),
        (0.0333, "33.3 ms"),
        (0.41, "410 ms"),
        (16.7, "16.70 s"),
    ],
)
def test_a_duration_has_three_digits_and_its_unit(seconds, words):
    assert time_words(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (25_300_000, "25.3 MB"), (2 * 10**9, "2.0 GB")]
)
def test_a_size_has_a_decimal_unit(count, words):
    assert bytes_words(count) == words


@given(st.floats(min_value=1e-9, max_value=1e5))
def test_the_words_say_the_duration_to_within_two_percent(seconds):
    number, unit = time_words(seconds).split()
    factor = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}[unit]
    floor = {"ns": 0.5e-9, "µs": 0.5e-6, "ms": 0.0, "s": 0.0}[unit]
    assert abs(float(number) * factor - seconds) <= max(0.02 * seconds, floor)


@pytest.mark.parametrize(("text", "share"), [("2%", 0.02), ("0.5 %", 0.005), ("100%", 1.0)])
def test_a_share_is_written_in_percent(text, share):
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("share", "words"),
    [
        *((0, "0 %"), (1, "100 %"), (0.5, "50.0 %"), (0.0123, "1.2 %"), (0.002, "0.20 %"), (0.00007, "0.01 %")),
        *((0.00001, "0.001 %"), (1 / 27_000, "0.004 %"), (3e-8, "0.000003 %")),
    ],
)
def test_a_share_that_is_not_nothing_never_reads_as_nothing(share, words):
    assert share_words(share) == words


@pytest.mark.parametrize("text", ["", "2", "0%", "101%", "-1%", "%", "2kg"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(UsageError):
        parse_share(text)


@pytest.mark.parametrize(
    ("text", "rate"), [("20M", 20_000_000), ("500k", 500_000), ("1.5MB", 1_500_000), ("1G", 10**9), ("64 kB", 64_000)]
)
def test_a_rate_is_bytes_a_second(text, rate):
    assert parse_byte_rate(text) == rate


@pytest.mark.parametrize("text", ["20", "63k", "0M", "M", "-1M", "20Mbit", ""])
def test_what_is_no_rate_or_next_to_nothing_is_refused(text):
    with pytest.raises(UsageError):
        parse_byte_rate(text)
