"""Durations and sizes as people write and read them. Pure."""

from __future__ import annotations

import math
import re

from edgectl_protos.domain.errors import UsageError

__all__ = [
    "bytes_words",
    "long_words",
    "parse_age_s",
    "parse_byte_rate",
    "parse_bytes",
    "parse_share",
    "share_words",
    "time_words",
]

_AGES_S = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_RATES = {**_SIZES, "k": 10**3, "M": 10**6, "G": 10**9}
_LEAST_RATE = 64_000
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+|%)")


def time_words(seconds: float | None) -> str:
    """A duration with three significant digits and its unit; a dash for one that is not known."""
    if seconds is None:
        return "–"
    if 0 < seconds < 1e-6:
        return f"{seconds * 1e9:.0f} ns"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1.0:
        digits = 2 if seconds < 0.01 else 1 if seconds < 0.1 else 0
        return f"{seconds * 1e3:.{digits}f} ms"
    return f"{seconds:.2f} s"


def bytes_words(count: int) -> str:
    """A size in decimal units."""
    if count < 1000:
        return f"{count} B"
    for factor, unit in ((1e3, "kB"), (1e6, "MB")):
        if count < factor * 1000:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e9:.1f} GB"


def long_words(seconds: float | None) -> str:
    """An estimate or an age: no more digits than it deserves; a dash for one that is not known."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    for size_s, unit in ((60, "min"), (3600, "h")):
        if seconds < size_s * 90:
            return f"{round(seconds / size_s)} {unit}"
    return f"{round(seconds / 86_400)} d"


def share_words(share: float) -> str:
    """A percentage with one decimal, or two of less than one percent; what is not 0 never reads as 0."""
    percent = 100 * share
    if percent in (0, 100):
        return f"{percent:.0f} %"
    decimals = 1 if percent >= 0.95 else 2 if percent >= 0.005 else -math.floor(math.log10(percent))
    return f"{percent:.{decimals}f} %"


def parse_share(text: str) -> float:
    """`2%` as 0.02.

    Raises:
        UsageError: it is not that, or nothing, or more than all.
    """
    number, _ = _parts(text, {"%": 1})
    if not 0 < number <= 100:
        raise UsageError(f"{text!r} is no share; write 2%")
    return number / 100


def parse_age_s(text: str) -> float:
    """`30d`, `12h`, `90min`.

    Raises:
        UsageError: it is not that.
    """
    number, unit = _parts(text, _AGES_S)
    return number * _AGES_S[unit]


def parse_bytes(text: str) -> int:
    """`10GB`, `500 MB`: decimal units.

    Raises:
        UsageError: it is not that.
    """
    number, unit = _parts(text, _SIZES)
    return int(number * _SIZES[unit])


def parse_byte_rate(text: str) -> int:
    """`20M`, `500k`, `20MB`: bytes a second, in decimal units.

    Raises:
        UsageError: it is not that, or less than a slow line.
    """
    number, unit = _parts(text, _RATES)
    rate = int(number * _RATES[unit])
    if rate < _LEAST_RATE:
        raise UsageError(f"{text!r} is less than {_LEAST_RATE // 1000}k bytes a second: nothing would arrive in time")
    return rate


def _parts(text: str, units: dict[str, int]) -> tuple[float, str]:
    found = _QUANTITY.fullmatch(text.strip())
    known = {unit.lower(): unit for unit in units}
    if found is None or found[2].lower() not in known:
        raise UsageError(f"{text!r} is not a number with one of the units {', '.join(units)}")
    return float(found[1]), known[found[2].lower()]
