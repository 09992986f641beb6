"""`edgectl profile`, `runs` and `report` over devices in memory: what is printed, what is kept, and the exit code."""

from __future__ import annotations

from dataclasses import replace

from edgectl_protos.domain.errors import SourceError


def test_profile_measures_what_is_installed(cli, bundle):
    cli("deploy", bundle, "--no-profile")
    result = cli("profile", "--mode", "closed", "--measure", "1s")
    assert result.code == 0
    assert result.out.startswith("CAPACITY  2,100 ticks closed")
    assert "checkpoint   sha256:" in result.out


def test_profile_of_nothing_says_so(cli):
    result = cli("profile")
    assert result.code == 57
    assert "edgectl deploy" in result.err


def test_profile_of_a_fleet_is_a_table_and_partial(cli, bundle):
    cli("deploy", bundle, "--fleet", "all", "--no-profile")
    cli.fakes["pi-1"].fails_run = SourceError("the video ended")
    result = cli("profile", "--fleet", "all")
    assert result.code == 4
    assert "pi-1: error[source_failed]: the video ended" in result.out
    assert max(map(len, result.lines)) <= 100
    document = cli("profile", "--fleet", "all", "--json").document
    assert [device["outcome"] for device in document["devices"]] == ["pass", "pass", None]


def test_a_run_that_ended_while_this_host_was_away_is_fetched_afterwards(cli, bundle):
    cli("deploy", bundle, "--no-profile")
    fake = cli.fakes["local"]
    fake.on_run = lambda: setattr(fake, "gone", True)
    lost = cli("profile", "--patience", "0s")
    assert lost.code == 51
    assert "goes on there" in lost.err
    assert lost.err.endswith("hint: when it answers again, fetch the run: edgectl runs --fleet local\n")
    assert cli("runs", "--json").document["runs"] == []
    fake.gone = False
    (run_id,) = fake.runs
    found = cli("runs", "--fleet", "local")
    assert found.code == 0
    assert f"local: fetched run {run_id}" in found.out
    assert "PASS" in found.out
    again = cli("runs", "--fleet", "local", "--json").document
    assert [row["id"] for row in again["runs"]] == [run_id]
    assert again["devices"][0]["fetched"] == []
    assert cli("report", run_id).out.startswith("PASS")


def test_runs_of_devices_that_do_not_answer_are_told_beside_the_others(cli, bundle):
    cli("deploy", bundle, "--fleet", "nucs")
    cli.fakes["nuc-2"].gone = True
    result = cli("runs", "--fleet", "nucs")
    assert result.code == 4
    assert "nuc-2: error[agent_unreachable]: " in result.out


def test_a_run_is_ended_by_its_id_and_the_one_that_waited_is_told(cli, bundle):
    cli("deploy", bundle, "--no-profile")
    cli("profile")
    (run_id,) = cli.fakes["local"].runs
    result = cli("runs", "cancel", run_id, "--fleet", "local")
    assert result.code == 0
    assert result.out.startswith(f"local: run {run_id} of ada@")
    assert " is done, begun " in result.out
    assert cli("runs", "cancel", "nothere").code == 56
    refused = cli("runs", "cancel", run_id, "--fleet", "nucs")
    assert refused.code == 2
    assert "nucs has 2 devices; a run is on one" in refused.err


def test_profile_fetches_samples_when_asked(cli, bundle, home):
    cli("deploy", bundle, "--no-profile")
    document = cli("profile", "--samples", "--json").document
    path = document["devices"][0]["run"]["samples_path"]
    assert path.startswith(str(home.samples_dir))


def test_runs_are_listed_shown_and_reported(cli, bundle):
    assert "no run is recorded yet" in cli("runs").out
    cli("deploy", bundle, "--fleet", "pi-1")
    table = cli("runs").out
    assert "PASS" in table
    assert "stand-in for raspberry-pi-5" in table
    run_id = cli("runs", "--json").document["runs"][0]["id"]
    cli.wiring.config = replace(cli.wiring.config, columns=80)
    narrow = cli("runs")
    # An id that is cut off cannot be typed.
    assert run_id in narrow.out
    assert max(map(len, narrow.lines)) <= 80
    cli.wiring.config = replace(cli.wiring.config, columns=None)
    shown = cli("runs", "show", run_id[:6])
    assert shown.out.startswith("PASS  2,100 ticks")
    assert shown.out == cli("report", run_id).out == cli("report").out
    assert cli("report", "--format", "markdown").out.startswith("**PASS** 2,100 ticks")
    assert cli("report", "--format", "json").document == cli("runs", "show", "last", "--json").document


def test_an_unknown_run_is_refused(cli):
    result = cli("report", "zzz", "--json")
    assert result.code == 64
    assert result.document["error"]["reason"] == "runs_database"
