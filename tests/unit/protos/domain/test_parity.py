"""What a report of parity says about itself."""

from __future__ import annotations

import pytest

from edgectl_protos.domain.parity import DimensionFigure, ParityFigure, ParityReport, Tolerance


def test_where_two_were_at_work_each_limit_is_the_looser_one():
    one, other = Tolerance(0.1, 0.2, 0.3, 0.0), Tolerance(0.0, 0.5, 0.1, 0.02)
    assert one.loosest(other) == other.loosest(one) == Tolerance(0.1, 0.5, 0.3, 0.02)
    assert one.loosest(one) == one


@pytest.mark.parametrize(
    ("value", "limit", "passed"),
    [
        (0.5, 0.5, True),
        (0.51, 0.5, False),
        (0.0, 0.0, True),
        (-1.0, 0.5, True),
        (9.0, None, True),
        (float("nan"), 0.5, False),
        (float("inf"), 0.5, False),
    ],
)
def test_a_figure_passes_within_its_limit_and_never_as_no_number(value, limit, passed):
    assert ParityFigure("executed", "rmse", value, limit).passed is passed


def test_a_figure_says_what_it_is_of_and_where():
    assert str(ParityFigure("executed", "rmse", 0.0234, 0.005, "gripper")) == (
        "executed: rmse 0.023 in gripper (limit 0.005)"
    )
    assert str(ParityFigure("prefix", "rmse", 0.0234, None)) == "prefix: rmse 0.023"


def test_a_report_has_its_failures_in_order():
    figures = tuple(ParityFigure(name, "rmse", value, 0.5) for name, value in (("a", 0.6), ("b", 0.1), ("c", 0.7)))
    assert [one.subject for one in ParityReport(3, figures).failures] == ["a", "c"]


def test_the_worst_dimension_is_that_with_the_largest_error_for_its_scale():
    degrees = DimensionFigure("pan", 1.0, 2.0, scale=40.0, deviation=40.0)
    metres = DimensionFigure("gripper", 0.02, 0.03, scale=0.03, deviation=0.03)
    assert ParityReport(3, (), (degrees, metres)).worst is metres
    assert ParityReport(3, ()).worst is None
