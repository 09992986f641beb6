"""`edgectl demo` over devices in memory: what is printed, what is kept, and the exit code."""

from __future__ import annotations

import pytest

from edgectl_testkit.runs import with_misses


def test_demo_of_a_bundle_is_one_row_with_nothing_to_compare_it_with(cli, bundle):
    result = cli("demo", "--policy", bundle)
    assert result.code == 0
    assert result.lines[1].split()[:4] == ["PASS", "reference", "fp32", "10.0"]
    assert "there is nothing to compare it with" in result.out
    assert "5 blocks of 2.50 s each, in turns, at 30 Hz" in result.out
    document = cli("demo", "--policy", bundle, "--measure", "10s", "--json").document
    (row,) = document["rows"]
    assert (document["fastest"], row["name"], row["outcome"]) == ("reference fp32", "reference fp32", "pass")
    assert [block["summary"]["loop"]["measure_s"] for block in row["blocks"]] == [2.0] * 5
    assert row["block_medians_s"] == pytest.approx([0.01] * 5, rel=0.01)


def test_a_demo_in_which_none_holds_fails(cli, bundle):
    cli.fakes["local"].summary = lambda summary: with_misses(summary, 199)
    result = cli("demo", "--policy", bundle)
    assert result.code == 1
    assert "none of them holds its deadlines here" in result.out
