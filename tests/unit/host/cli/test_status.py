"""`edgectl status` and `rollback` over devices in memory: what is printed, what is kept, and the exit code."""

from __future__ import annotations

from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import ParityError
from edgectl_testkit.bundles import tiny_bundle


def test_rollback_says_what_runs_again(cli, tmp_path):
    for name in ("one", "two"):
        cli("deploy", tiny_bundle(tmp_path / name, name=name)[0], "--no-profile")
    result = cli("rollback")
    assert result.code == 0
    assert result.out.startswith("local  runs one ")
    assert cli("rollback").code == 57


def test_rollback_of_a_fleet_is_partial_when_one_cannot(cli, tmp_path):
    for name in ("one", "two"):
        cli("deploy", tiny_bundle(tmp_path / name, name=name)[0], "--no-profile", "--fleet", "nuc-1")
    result = cli("rollback", "--fleet", "nucs")
    assert result.code == 4
    assert "nuc-2: error[wrong_state]: " in result.out


def test_status_shows_each_device_and_who_does_not_answer(cli, bundle):
    cli("deploy", bundle, "--no-profile", "--fleet", "nucs")
    cli.fakes["pi-1"].gone = True
    result = cli("status", "--fleet", "all")
    assert result.code == 4
    assert "current   tiny " in result.out
    assert "pi-1: error[agent_unreachable]: " in result.out
    assert max(map(len, result.lines)) <= 100
    assert [device["failure"] is None for device in cli("status", "--fleet", "all", "--json").document] == [
        True, True, False,
    ]  # fmt: skip


def test_status_shows_a_failed_deployment_beside_what_still_runs(cli, tmp_path):
    cli("deploy", tiny_bundle(tmp_path / "one", name="one")[0], "--no-profile")
    cli.fakes["local"].fails_at = (State.PARITY, ParityError("differs"))
    cli("deploy", tiny_bundle(tmp_path / "two", name="two")[0], "--no-profile")
    out = cli("status").out
    assert "current          one " in out
    assert "last deployment  failed · two" in out
