"""What was proved on the device about the numbers, as plain strings. Pure."""

from __future__ import annotations

from edgectl_host.runs.record import RunRecord
from edgectl_protos.domain.parity import DimensionFigure, ParityFigure, ParityReport

__all__ = ["DIMENSION_COLUMNS", "dimension_rows", "parity_rows", "worst_dimension"]

DIMENSION_COLUMNS = ("dimension", "rmse", "worst", "deviation", "effect", "rmse of scale", "correlation")
"""In the robot's units, but for the last two."""

_DASH = "–"


def dimension_rows(record: RunRecord) -> tuple[tuple[str, ...], ...]:
    """A line for each dimension of the executed actions."""
    report = record.deployment.parity if record.deployment else None
    return tuple(_dimension(one) for one in report.dimensions) if report else ()


def worst_dimension(record: RunRecord) -> str:
    """The largest rms error of a dimension, in parts of its scale; empty when nothing was compared."""
    report = record.deployment.parity if record.deployment else None
    if report is None:
        return ""
    worst = report.worst
    return f"{worst.rmse / worst.scale:.1e}" if worst else f"{report.figures[0].value:.1e}"


def parity_rows(record: RunRecord) -> list[str]:
    """What was compared with what, a line for each kind."""
    report = record.deployment.parity if record.deployment else None
    golden = record.manifest.golden if record.manifest else None
    if report is None:
        no_cases = record.manifest is not None and golden is None
        return ["not proved on the device: the release has no golden cases" if no_cases else "not known here"]
    against = f" · against {golden.reference} · {golden.inputs_kind} inputs" if golden else ""
    cases = f"{report.cases} {'case' if report.cases == 1 else 'cases'}{against}"
    return [cases, *map(_words, _told(report))]


def _told(report: ParityReport) -> list[ParityFigure]:
    """All that failed, else of each kind the figure nearest to its limit."""
    if report.failures:
        return list(report.failures)
    kinds: dict[str, ParityFigure] = {}
    for figure in report.figures:
        kind = "inner" if _is_inner(figure) else f"{figure.subject} {figure.statistic}"
        kind = "share" if figure.statistic == "share" else kind
        if kind not in kinds or _nearness(figure) > _nearness(kinds[kind]):
            kinds[kind] = figure
    return list(kinds.values())


def _is_inner(figure: ParityFigure) -> bool:
    return figure.at.startswith("output ")


def _nearness(figure: ParityFigure) -> float:
    return figure.value / figure.limit if figure.limit else figure.value


def _words(figure: ParityFigure) -> str:
    return f"{figure}{'' if figure.passed else ', FAILED'}"


def _dimension(one: DimensionFigure) -> tuple[str, ...]:
    graded = f"{one.rmse / one.scale:.1e}" if one.unequal is None else f"{one.unequal:.1%} of another class"
    return (
        one.name,
        f"{one.rmse:.2e}",
        f"{one.worst:.2e}",
        f"{one.deviation:.2e}",
        _DASH if one.effect is None else f"{one.effect:.2e}",
        graded.replace("%", " %"),
        _DASH if one.correlation is None else f"{one.correlation:.6f}",
    )
