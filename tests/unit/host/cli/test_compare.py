"""`edgectl compare` over devices in memory: what is printed, what is kept, and the exit code."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_testkit.bundles import tiny_bundle


@pytest.fixture
def other(tmp_path):
    return tiny_bundle(tmp_path / "other", name="other")[0]


def test_compare_answers_first_and_its_exit_code_is_for_machines(cli, bundle, other):
    result = cli("compare", bundle, other)
    assert result.code == 0
    assert result.lines[0].startswith("PASS  B against A on local: p50 the same, 1.00× (")
    assert "5 blocks each, in turns, 4.00 s at 30 Hz" in result.out
    assert "other reference fp32 stays installed on local; back: edgectl rollback" in result.out
    assert max(map(len, result.lines)) <= 100
    fake = cli.fakes["local"]
    fake.pace[fake.current] = 1.5
    slower = cli("compare", "previous", "installed", "--blocks", 6, "--measure", "1s", "--json")
    assert slower.code == 1
    assert slower.document["outcome"] == "fail"
    p50 = slower.document["ratios"][0]
    assert (p50["statistic"], p50["change"]) == ("p50", "slower")
    assert p50["low"] <= p50["ratio"] <= p50["high"]
    assert [len(slower.document[side]["blocks"]) for side in ("a", "b")] == [6, 6]


def test_compare_says_when_the_machine_did_not_stay_as_it_was(cli, bundle, other):
    count = iter(range(10))
    cli.fakes["local"].summary = lambda summary: replace(summary, threads=1 + next(count) // 5)
    result = cli("compare", bundle, other)
    assert result.code == 3
    assert "INCONCLUSIVE" in result.lines[0]
    assert "no evidence: threads: 1, then 2" in result.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a",), "two are compared, not a"),
        (("a", "b", "c"), "two are compared, not a, b, c"),
        (("installed", "previous", "--fleet", "all"), "all has 3 devices"),
    ],
)
def test_compare_takes_two_on_one_device(cli, arguments, message):
    result = cli("compare", *arguments)
    assert result.code == 2
    assert message in result.err
