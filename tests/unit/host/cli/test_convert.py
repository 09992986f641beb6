"""`edgectl convert`, and what it keeps: toolchains and the cache."""

from __future__ import annotations

import io
import shutil

import pytest

from edgectl_converters.steps import StepCache
from edgectl_protos.domain.artifact import Digest
from edgectl_testkit.bundles import tiny_bundle


@pytest.fixture
def other(tmp_path):
    return tiny_bundle(tmp_path / "other", name="other")[0]


def test_toolchains_are_listed_without_making_any(cli, home):
    chains = cli("toolchain", "list", "--json").document
    assert chains[0]["name"] == "host"
    assert all(chain["name"] and chain["origin"] for chain in chains)
    other = chains[1]["name"]
    assert cli("toolchain", "use", other, "--python", "/nope").code == 2
    result = cli("toolchain", "use", other, "--python", shutil.which("true"))
    assert result.code == 21
    assert "hint: " in result.err
    assert cli("toolchain", "forget", other).out == f"{other}: there was none of your own\n"
    assert not (home.cache_dir / "toolchains").exists()


@pytest.mark.parametrize("action", [("use", "nothing", "--python", "/bin/true"), ("make", "nothing")])
def test_a_toolchain_that_is_not_known_is_refused_with_those_that_are(cli, action):
    result = cli("toolchain", *action)
    assert result.code == 21
    assert "host" in result.err


def test_a_toolchain_is_chosen_by_its_python(cli):
    assert "--python" in cli("toolchain", "use", "host").err


def test_the_plan_for_several_boards_has_each_conversion_once(cli, graph):
    result = cli("convert", graph, "--for", "rpi5,rk3588", "--dry-run")
    assert result.code == 0, result.err
    assert result.out.count("onnxrt fp32") >= 1
    assert "floors: known from the first export on" in result.out
    assert len(cli("convert", graph, "--for", "rpi5,rk3588", "--dry-run", "--json").document) == 1


@pytest.mark.parametrize(("boards", "taken"), [("rpi5", "out"), ("rpi5,rk3588", "out/raspberry-pi-5")])
def test_a_place_that_is_taken_is_refused_before_anything_is_converted(cli, graph, tmp_path, boards, taken):
    (tmp_path / taken).mkdir(parents=True)
    result = cli("convert", graph, "--for", boards, "-o", tmp_path / "out")
    assert result.code == 40
    assert f"{tmp_path / taken} exists already" in result.err
    assert cli("cache", "--json").document["entries"] == []


def test_an_unknown_board_among_several_is_refused(cli, graph):
    result = cli("convert", graph, "--for", "rpi5,toaster")
    assert result.code == 17
    assert "toaster" in result.err


@pytest.mark.slow
def test_several_boards_are_converted_past_one_that_cannot_be(cli, graph, home, monkeypatch):
    monkeypatch.setenv("EDGECTL_HOME", str(home.cache_dir.parent))
    wanted = ("convert", graph, "--for", "rpi5,pixel-9,rk3588", "--runtime", "reference")
    result = cli(*wanted)
    assert result.code == 4
    assert result.lines[0] == "2 of 3 boards, 1 bundles"
    assert "does not list it" in result.out
    rows = cli(*wanted, "--json").document
    assert [bool(row["release"]) for row in rows] == [True, False, True]
    assert rows[0]["release"] == rows[2]["release"]
    assert rows[0]["estimated_memory_bytes"] == 0
    assert rows[1]["failure"]["reason"] == "no_route"
    floors = cli(*wanted, "--dry-run", "--json").document[0]["floors"]
    assert floors["raspberry-pi-5"][0]["work"]["port_bytes"] > 0
    # What one board gets is what all get.
    one = cli("convert", graph, "--for", "rpi5", "--runtime", "reference", "--json").document
    assert (one["release"], one["cached"]) == (rows[0]["release"], True)


def test_the_plan_of_a_conversion_shows_its_steps_and_changes_nothing(cli, graph, home):
    result = cli("convert", graph, "--dry-run")
    assert result.code == 0, result.err
    assert result.lines[1].split()[:4] == ["step", "of", "tool", "toolchain"]
    assert max(map(len, result.lines)) <= 100
    plan = cli("convert", graph, "--dry-run", "--json").document[0]
    assert plan["cached"] is False
    assert plan["assignment"]["scheme"] == "fp32"
    kinds = [step["kind"] for step in plan["steps"]]
    assert kinds.index("build") < kinds.index("bundle")
    assert not any(step["cached"] for step in plan["steps"])


def test_the_cache_of_a_fresh_home_is_empty(cli):
    assert cli("cache").code == 0
    assert "empty" in cli("cache").out
    assert cli("cache", "--json").document["entries"] == []
    assert cli("cache", "trim", "--older-than", "30d", "--yes", "--json").document["removed"] == []


def test_nothing_is_trimmed_where_nobody_can_be_asked(cli, home, monkeypatch):
    names = {"kind": "build", "subject": "x", "tool": "y"}
    entry = StepCache(home.cache_dir).make("ab" * 32, Digest, lambda _: Digest("0" * 64), weight=1, **names)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    refused = cli("cache", "trim", "--keep", "0B")
    assert refused.code == 2
    assert "hint: --yes" in refused.err
    assert entry.folder.exists()


@pytest.mark.parametrize("options", [(), ("--older-than", "30"), ("--keep", "10"), ("--keep", "lots")])
def test_trimming_needs_to_be_told_what_to_keep(cli, options):
    result = cli("cache", "trim", *options, "--yes")
    assert result.code == 2
    assert "hint: " in result.err
