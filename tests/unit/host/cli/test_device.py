"""`edgectl device`: the list, and what is refused before a device is touched."""

from __future__ import annotations

import pytest

from edgectl_host.fleet.registry import Home, Registered, Registry

HOME = Home("ubuntu@orin-1", (), "/opt/edgectl", "/var/lib/edgectl", "/run/edgectl/agent.sock", "system", True)


@pytest.fixture
def orin(cli, home):
    registered = Registered("nuc-9", ("tls:nuc-9:7443",), "ab" * 16, "generic-x86_64", HOME, {"lab": ""})
    Registry(home.config_dir).put(registered)
    cli.fakes["nuc-9"] = type(cli.fakes["nuc-1"])("nuc-9")
    cli.wiring.fakes["nuc-9"] = cli.fakes["nuc-9"]
    return registered


def test_the_list_has_a_line_for_each_device_and_fits(cli, orin):
    cli.fakes["nuc-2"].gone = True
    shown = cli("device", "ls")
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split() == ["device", "board", "system", "runtimes", "agent", "state"]
    assert any(line.startswith("nuc-9") and line.endswith("online") for line in lines)
    assert any(line.startswith("nuc-2") and "offline: agent_unreachable" in line for line in lines)
    assert not any(line.startswith("local") for line in lines)


def test_the_list_as_json_has_identity_labels_and_the_failure(cli, orin):
    cli.fakes["nuc-2"].gone = True
    document = {one["device"]: one for one in cli("device", "ls", "--json").document}
    assert (document["nuc-9"]["identity"], document["nuc-9"]["labels"]) == ("ab" * 16, {"lab": ""})
    assert document["nuc-9"]["online"]
    assert document["nuc-2"]["failure"]["reason"] == "agent_unreachable"


def test_a_bare_label_is_a_fleet(cli, orin):
    assert [one["device"] for one in cli("device", "ls", "--fleet", "lab", "--json").document] == ["nuc-9"]
    assert [one["device"] for one in cli("status", "--fleet", "lab", "--json").document] == ["nuc-9"]


@pytest.mark.parametrize("command", ["rm", "update"])
def test_what_was_not_added_cannot_be_removed_or_updated(cli, orin, command):
    refused = cli("device", command, "nuc-1")
    assert refused.code == 16
    assert "those were: nuc-9" in refused.err


def test_a_label_without_a_key_is_refused_before_anything_else(cli):
    refused = cli("device", "add", "ubuntu@orin-1", "--label", "=x")
    assert refused.code == 2
    assert "--label lab" in refused.err
