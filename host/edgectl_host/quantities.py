"""Durations and sizes as people read them. Pure."""

from __future__ import annotations

__all__ = ["bytes_words", "time_words"]


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
