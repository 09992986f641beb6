"""`edgectl device`: the list, and what is refused before a device is touched."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from edgectl_agent.core.trust.tasks import KeyRequest, MakeKey
from edgectl_agent.keys import answer
from edgectl_host.fleet.registry import Home, Registered, Registry
from edgectl_host.trust.authority import Authority
from edgectl_protos.domain.errors import UnreachableError
from edgectl_protos.domain.trust import Role

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


def test_a_device_of_a_fleet_that_is_elsewhere_can_be_forgotten(cli, orin):
    forgotten = cli("device", "rm", "nuc-9", "--forget")
    assert forgotten.code == 0
    assert "nuc-9: its certificate is not revoked: this host has no authority" in forgotten.err
    assert "nuc-9" not in {one["device"] for one in cli("device", "ls", "--json").document}


@pytest.mark.parametrize("arguments", [("rm", "nuc-9"), ("add", "ubuntu@nuc-9")])
def test_a_passphrase_is_asked_for_before_a_device_is_touched(cli, orin, monkeypatch, arguments):
    def touched(*_):
        raise AssertionError("a login was opened")

    reading, writing = os.pipe()
    os.write(writing, b"horse\n")
    os.close(writing)
    assert cli("ca", "init", "--passphrase-fd", reading).code == 0
    monkeypatch.setattr("edgectl_host.transport.ssh.Ssh.run", touched)
    refused = cli("device", *arguments)
    assert refused.code == 2
    assert "passphrase" in refused.err


def test_a_dry_run_asks_for_no_passphrase(cli, monkeypatch):
    reading, writing = os.pipe()
    os.write(writing, b"horse\n")
    os.close(writing)
    assert cli("ca", "init", "--passphrase-fd", reading).code == 0

    async def gone(*_, **__):
        raise UnreachableError("the device was asked")

    monkeypatch.setattr("edgectl_host.transport.ssh.Ssh.run", gone)
    assert "the device was asked" in cli("device", "add", "ubuntu@nuc-9", "--dry-run").err


@pytest.mark.parametrize("command", ["rm", "update"])
def test_what_was_not_added_cannot_be_removed_or_updated(cli, orin, command):
    refused = cli("device", command, "nuc-1")
    assert refused.code == 16
    assert "those were: nuc-9" in refused.err


def test_a_label_without_a_key_is_refused_before_anything_else(cli):
    refused = cli("device", "add", "ubuntu@orin-1", "--label", "=x")
    assert refused.code == 2
    assert "--label lab" in refused.err


def test_a_device_that_was_revoked_already_can_be_forgotten(cli, orin, home):
    authority = Authority.init(home.data_dir / "trust", owner="ada")
    authority.issue_device(answer(KeyRequest(MakeKey("nuc-9"))).answer.csr, "nuc-9")
    authority.revoke("nuc-9")
    assert cli("device", "rm", "nuc-9", "--forget").code == 0
    assert not Registry(home.config_dir).devices()


def test_who_revokes_is_told_by_the_exit_code_of_a_device_that_does_not_know_yet(cli, orin, home):
    authority = Authority.init(home.data_dir / "trust", owner="ada")
    authority.issue_client("bob", Role.VIEW)
    cli.fakes["nuc-9"].gone = True
    revoked = cli("trust", "revoke", "bob", "--json")
    assert revoked.code == 51
    assert [each["device"] for each in revoked.document["devices"]] == ["nuc-9"]


def test_a_stolen_device_is_not_dialled_to_be_told_that_it_is_revoked(cli, orin, home):
    authority = Authority.init(home.data_dir / "trust", owner="ada")
    issued = authority.issue_device(answer(KeyRequest(MakeKey("nuc-9"))).answer.csr, "nuc-9")
    registry = Registry(home.config_dir)
    registry.put(replace(orin, identity=issued.identity))
    revoked = cli("trust", "revoke", "nuc-9", "--json")
    assert revoked.code == 0
    assert revoked.document["devices"] == []
