"""`edgectl doctor` and `agent`, which start nothing."""

from __future__ import annotations

from edgectl_host.fleet.registry import Home, Registered, Registry


def test_doctor_shows_what_is_here_and_starts_nothing(cli):
    result = cli("doctor")
    assert "local agent" in result.out
    assert "not running" in result.out
    assert "fleet.yaml·3devices" in "".join(result.out.split())
    assert max(map(len, result.lines)) <= 100
    assert {check["health"] for check in cli("doctor", "--json").document} <= {"ok", "absent", "problem"}


def test_doctor_knows_the_devices_that_were_added_too(cli, home):
    place = Home("nuc-9", (), "/opt/edgectl", "/var/lib/edgectl", "/run/edgectl/agent.sock", "system")
    Registry(home.config_dir).put(Registered("nuc-9", ("tls:nuc-9",), "ab" * 16, "generic-x86_64", place))
    with open("fleet.yaml", "a") as file:
        file.write("  everywhere: [nuc-1, nuc-9]\n")
    (fleet,) = (found for found in cli("doctor", "--json").document if found["subject"] == "fleet")
    assert (fleet["health"], fleet["detail"].split(" · ")[1]) == ("ok", "4 devices")


def test_doctor_tells_a_broken_fleet_file(cli):
    with open("fleet.yaml", "a") as file:
        file.write("device: {}\n")
    result = cli("doctor")
    assert result.code == 1
    assert "unknown key; known: devices, groups" in " ".join(result.out.split())


def test_the_agent_is_stopped_or_looked_for_without_starting_it(cli):
    assert "not running" in cli("agent", "status").out
    assert cli("agent", "stop", "--json").document["running"] is False
