"""Series over minutes as an SVG, one panel each, readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

__all__ = ["Series", "plot"]

WIDTH, PANEL, LEFT, RIGHT, TOP, GAP = 860, 110, 60, 20, 30, 34
LINE, MARK, WORDS = "#2f7ed8", "#c0392b", "#808080"


@dataclass(frozen=True, slots=True)
class Series:
    """Points are (minute, value)."""

    title: str
    points: tuple[tuple[float, float], ...]


def plot(series: Sequence[Series], *, marks: Sequence[float], mark: str) -> str:
    """The SVG; `marks` are minutes at which a line is drawn through all panels, and `mark` says what they are."""
    height = TOP + len(series) * (PANEL + GAP) + 10
    end = max((point[0] for one in series for point in one.points), default=1.0) or 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12" fill="{WORDS}">',
        f'<line x1="{LEFT}" x2="{LEFT + 18}" y1="14" y2="14" stroke="{MARK}" stroke-opacity="0.5"/>',
        f'<text x="{LEFT + 24}" y="18">{escape(mark)}</text>',
    ]
    for index, one in enumerate(series):
        parts += _panel(one, TOP + index * (PANEL + GAP), end, marks)
    return "\n".join([*parts, "</svg>", ""])


def _panel(one: Series, top: float, end: float, marks: Sequence[float]) -> list[str]:
    """One series, its axis from nothing to a little above its highest value."""
    highest = max((value for _, value in one.points), default=1.0) * 1.1 or 1.0
    inner = WIDTH - LEFT - RIGHT

    def place(minute: float, value: float) -> tuple[float, float]:
        return LEFT + minute / end * inner, top + PANEL - value / highest * PANEL

    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in one.points))
    base = top + PANEL
    return [
        f'<text x="{LEFT}" y="{top - 6:.0f}" font-weight="bold">{escape(one.title)}</text>',
        *(
            f'<line x1="{place(minute, 0)[0]:.1f}" x2="{place(minute, 0)[0]:.1f}" y1="{top}" y2="{base}" '
            f'stroke="{MARK}" stroke-opacity="0.25"/>'
            for minute in marks
        ),
        f'<path d="M{LEFT} {top}V{base}H{WIDTH - RIGHT}" fill="none" stroke="{WORDS}"/>',
        f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{highest:.3g}</text>',
        f'<text x="{LEFT - 6}" y="{base}" text-anchor="end">0</text>',
        f'<text x="{WIDTH - RIGHT}" y="{base + 14}" text-anchor="end">{end:.0f} min</text>',
        f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="1.3"/>',
    ]
