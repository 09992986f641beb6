from __future__ import annotations

from dataclasses import replace

from edgectl_host.report.parity import DIMENSION_COLUMNS, dimension_rows, parity_rows, worst_dimension
from edgectl_protos.domain.parity import ParityFigure, ParityReport


def with_parity(record, report):
    return replace(record, deployment=replace(record.deployment, parity=report))


def test_each_dimension_has_a_row_in_the_units_of_the_robot(record):
    shoulder, gripper = (dict(zip(DIMENSION_COLUMNS, row, strict=True)) for row in dimension_rows(record))
    assert shoulder["rmse"] == "2.90e-06"
    assert (shoulder["deviation"], shoulder["effect"]) == ("1.00e+01", "9.50e+00")
    assert (shoulder["rmse of scale"], shoulder["correlation"]) == ("2.9e-07", "1.000000")
    assert (gripper["effect"], gripper["correlation"]) == ("–", "–")
    assert gripper["rmse of scale"] == "12.5 % of another class"


def test_a_release_that_was_not_compared_has_no_rows(record):
    for unproved in (with_parity(record, None), replace(record, deployment=None)):
        assert dimension_rows(unproved) == ()
        assert worst_dimension(unproved) == ""


def test_the_worst_dimension_is_the_one_with_the_largest_error_for_its_scale(record):
    assert worst_dimension(record) == "2.9e-07"
    integers = ParityReport(8, (ParityFigure("action", "unequal", 0.25, 0.02),))
    assert worst_dimension(with_parity(record, integers)) == "2.5e-01"


def test_where_something_failed_all_that_failed_is_told_and_nothing_else(record):
    figures = tuple(ParityFigure(f"step {index}/2", "rmse", value, 0.1) for index, value in ((1, 0.01), (2, 0.3)))
    told = parity_rows(with_parity(record, ParityReport(1, figures)))
    assert told == ["1 case · against numpy · synthetic inputs", "step 2/2: rmse 0.3 (limit 0.1), FAILED"]
