"""`edgectl ca` and `edgectl trust`, without a device."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
from dataclasses import replace

import pytest

from edgectl_host.config import HostConfig


@pytest.fixture
def fleet(cli):
    assert cli("ca", "init").code == 0
    return cli


def issued(cli):
    return {each["name"]: each for each in cli("trust", "show", "--json").document["issued"]}


def test_a_fleet_is_made_and_shown(cli):
    made = cli("ca", "init", "--json")
    assert made.code == 0
    assert made.document["own"]["role"] == "admin"
    assert made.document["authority"]["encrypted"] is False
    shown = cli("trust")
    assert "admin" in shown.out
    assert made.document["authority"]["fingerprint"] in shown.out
    again = cli("ca", "init", "--json")
    assert again.document["error"]["reason"] == "usage"


def test_a_member_is_one_row_however_often_it_was_renewed(cli, fleet, tmp_path):
    def issue(role):
        key = tmp_path / "key.json"
        key.unlink(missing_ok=True)
        assert cli("trust", "issue", "bob", "--role", role, "-o", str(key)).code == 0

    for _ in range(3):
        issue("view")
    cli("trust", "revoke", "bob")
    issue("view")
    issue("admin")
    rows = [line.split() for line in cli("trust").out.splitlines() if line.startswith("bob")]
    assert [(row[1], *row[4:]) for row in rows] == [("view", "holds", "4,", "3", "revoked"), ("admin", "holds", "1")]
    assert [each["name"] for each in cli("trust", "--json").document["issued"]].count("bob") == 5


def test_without_a_fleet_the_command_that_makes_one_is_named(cli):
    shown = cli("trust")
    assert shown.code == 80
    assert "edgectl ca init" in shown.err


def test_nothing_that_is_printed_is_a_private_key(cli, home):
    texts = [cli("ca", "init", "--json").out, cli("trust", "issue", "bob", "--role", "deploy", "--json").out]
    texts += [cli("trust", "show", "--json").out, cli("trust").out]
    private = json.loads((home.data_dir / "trust/release-key.json").read_text())["private"]
    for text in texts:
        assert "PRIVATE KEY" not in text
        assert private not in text


def test_a_passphrase_comes_from_a_descriptor_and_is_needed_to_sign(cli):
    def descriptor(text):
        reading, writing = os.pipe()
        os.write(writing, text)
        os.close(writing)
        return reading

    def pieces(*texts):
        """As a program writes that does not write all at once."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for text in texts:
            theirs.send(text)
        theirs.close()
        return ours.detach()

    assert cli("ca", "init", "--passphrase-fd", descriptor(b"horse\n")).code == 0
    assert cli("trust", "--json").document["authority"]["encrypted"] is True
    refused = cli("trust", "issue", "bob", "--role", "view")
    assert refused.code == 2
    assert "--passphrase-fd" in refused.err
    wrong = cli("trust", "issue", "bob", "--role", "view", "--passphrase-fd", descriptor(b"donkey\n"))
    assert wrong.code == 80
    assert cli("trust", "issue", "bob", "--role", "view", "--passphrase-fd", pieces(b"hor", b"se\n")).code == 0


def test_a_passphrase_that_does_not_end_is_refused(cli):
    endless = cli("ca", "init", "--passphrase-fd", os.open("/dev/zero", os.O_RDONLY))
    assert endless.code == 2
    assert "longer than 1024 bytes" in endless.err


def test_no_passphrase_is_asked_for_where_nobody_can_answer(cli, home, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("horse\nhorse\n"))
    refused = cli("ca", "init", "--encrypt")
    assert refused.code == 2
    assert "--passphrase-fd" in refused.err
    assert not (home.data_dir / "trust").exists()


def test_an_operator_is_given_a_file_and_joins_with_it(fleet, tmp_path):
    given = fleet("trust", "issue", "bob", "--role", "profile", "--valid", "10d", "-o", tmp_path / "bob.json")
    assert given.code == 0
    assert stat.S_IMODE((tmp_path / "bob.json").stat().st_mode) == 0o600
    bob = issued(fleet)["bob"]
    assert (bob["role"], bob["expires_s"] - bob["issued_s"]) == ("profile", 864_000)
    config = HostConfig.from_environment({"EDGECTL_HOME": str(tmp_path / "bobs"), "HOME": str(tmp_path)}, uid=1000)
    bobs = replace(fleet, wiring=type(fleet.wiring)(config, {}))
    assert bobs("trust", "join", tmp_path / "bob.json", "--json").document["own"]["name"] == "bob"
    refused = bobs("trust", "issue", "carol", "--role", "view")
    assert refused.code == 80
    assert "ca init" not in refused.err


def test_a_file_that_is_no_grant_is_refused(fleet, tmp_path):
    (tmp_path / "x.json").write_text("{}")
    assert fleet("trust", "join", tmp_path / "x.json").code == 43


def test_who_is_revoked_is_shown_as_revoked(fleet):
    fleet("trust", "issue", "bob", "--role", "deploy")
    revoked = fleet("trust", "revoke", "bob")
    assert revoked.code == 0
    assert "edgectl trust rotate-key" in revoked.out
    assert issued(fleet)["bob"]["revoked_s"] > 0
    assert fleet("trust", "revoke", "bob").code == 2


def test_a_new_release_key_is_the_next_generation(fleet):
    assert fleet("trust", "rotate-key", "--json").document["generation"] == 2


def test_this_hosts_own_certificate_is_renewed(fleet):
    before = fleet("trust", "show", "--json").document["issued"]
    renewed = fleet("trust", "renew")
    assert renewed.code == 0
    assert "this host: until" in renewed.out
    assert len(fleet("trust", "show", "--json").document["issued"]) == len(before) + 1
