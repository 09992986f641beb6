"""Two demos beside each other, as `make bench` judges them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[3] / "tools" / "bench" / "steady.py"


@pytest.fixture(scope="module")
def steady():
    spec = importlib.util.spec_from_file_location("steady", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def demo(p50_s, *, medians_s=None, conditions=(), failure=None):
    row = {
        "name": "way fp32",
        "response": {"p50": p50_s} if p50_s else None,
        "block_medians_s": medians_s or [p50_s] * 5,
        "failure": failure,
    }
    return {"conditions": list(conditions), "rows": [row]}


def test_medians_within_two_percent_are_steady(steady):
    (line,) = steady.steady_lines(demo(0.010), demo(0.0101))
    assert line == "way fp32         10.00 ms, then 10.10 ms (+1.0%)  steady"


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (demo(0.011, conditions=["way fp32: machine busy", "way int8: machine busy"]), "second run: machine busy"),
        (demo(0.011, medians_s=[0.010, 0.012, 0.011]), "blocks of one run differ by 20% among themselves"),
        (demo(0.011), "the machine ran at another speed in the second one"),
    ],
)
def test_others_are_unstable_and_say_why(steady, second, reason):
    (line,) = steady.steady_lines(demo(0.010), second)
    assert "(+10.0%)  unstable: " in line
    assert reason in line
    assert line.count("machine busy") <= 1


def test_what_has_no_median_says_why_and_is_no_error(steady):
    (line,) = steady.steady_lines(demo(0.010), demo(None, failure={"message": "parity failed"}))
    assert line.endswith("n/a: parity failed")
    (line,) = steady.steady_lines(demo(None), demo(None))
    assert "too few ticks" in line
    (line,) = steady.steady_lines(demo(0.010), {"conditions": [], "rows": []})
    assert "n/a" in line
