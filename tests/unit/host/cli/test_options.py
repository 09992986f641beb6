"""The words in which options are written."""

from __future__ import annotations

import click
import pytest

from edgectl_host.cli.options import DURATION, PRECISION, RATE
from edgectl_protos.domain.artifact import Precision


@pytest.mark.parametrize(("text", "seconds"), [("20s", 20.0), ("500ms", 0.5), ("2min", 120.0)])
def test_a_duration_has_its_unit(text, seconds):
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize(("kind", "text"), [(DURATION, "20"), (DURATION, "-1s"), (RATE, "30"), (RATE, "fast")])
def test_what_is_none_is_refused_with_the_form(kind, text):
    with pytest.raises(click.BadParameter, match="unit"):
        kind.convert(text, None, None)


def test_a_rate_is_in_hertz():
    assert RATE.convert("12.5Hz", None, None) == 12.5


def test_a_precision_is_one_of_the_domain():
    assert PRECISION.convert("int8", None, None) is Precision.INT8
    with pytest.raises(click.BadParameter, match="fp8"):
        PRECISION.convert("fp8", None, None)
