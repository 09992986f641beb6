"""The whole command line against an enrolled device behind mutual TLS: the real agent process, the real worker."""

from __future__ import annotations

import json
import ssl
import threading
import time
from pathlib import Path

import pytest
import yaml

from edgectl_agent.enrol import Enroller
from edgectl_host.cli.app import run
from edgectl_host.cli.wiring import Wiring
from edgectl_host.config import HostConfig
from edgectl_host.trust.certificates import DAY_S
from edgectl_testkit.bundles import tiny_bundle
from edgectl_testkit.fleet_trust import FleetTrust, running_agent
from edgectl_testkit.ports import free_port
from edgectl_testkit.serve import short_folder


class Desk:
    """One operator's machine."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str], user: str = "ada") -> None:
        environ = {"EDGECTL_HOME": str(home), "HOME": str(home), "USER": user}
        self.config = HostConfig.from_environment(environ, uid=1000)
        self._capsys = capsys
        self.config.config_dir.mkdir(parents=True)

    def __call__(self, *arguments: object):
        code = run([*map(str, arguments)], Wiring(self.config))
        captured = self._capsys.readouterr()
        self.err = captured.err
        return code, captured.out

    def json(self, *arguments: object):
        code, out = self(*arguments, "--json")
        return code, json.loads(out)

    def knows(self, name: str, address: str, identity: str) -> None:
        file = self.config.config_dir / "fleet.yaml"
        fleet = yaml.safe_load(file.read_text()) if file.exists() else {"devices": {}}
        fleet["devices"][name] = {"address": address, "identity": identity, "board": "generic-x86_64"}
        file.write_text(yaml.safe_dump(fleet))


@pytest.fixture
def home():
    with short_folder() as home:
        yield home


@pytest.fixture
def desk(home, capsys, monkeypatch):
    monkeypatch.chdir(home)
    return Desk(home / "ada", capsys)


@pytest.fixture
def fleet(desk):
    return FleetTrust(desk.config.data_dir)


def bundles(home):
    return [tiny_bundle(home / name, name=name)[0] for name in ("one", "two")]


@pytest.mark.slow
def test_deploy_profile_and_rollback_go_over_mutual_tls_and_are_in_the_log(desk, fleet, home):
    identity = fleet.enrol(home / "state", "orin")
    one, two = bundles(home)
    with running_agent(home / "state", f"unix:{home}/a.sock", "tls:127.0.0.1:0") as agent:
        desk.knows("orin", agent.addresses[1], identity)
        for bundle in (one, two):
            code, rows = desk.json("deploy", bundle, "--fleet", "orin", "--measure", "0.3s")
            assert code in (0, 3), rows
        assert desk("rollback", "--fleet", "orin")[0] == 0
        # Back again: the same release, signed anew.
        assert desk("deploy", two, "--fleet", "orin", "--no-profile")[0] == 0
        code, status = desk.json("status", "--fleet", "orin")
        assert status[0]["deployments"][0]["owner"] == fleet.own.name
        code, logs = desk.json("trust", "audit", "--fleet", "orin")
        events = [entry["event"] for entry in logs[0]["entries"]]
        assert events.count("DeploymentService/Create") == 3
        assert events.count("DeploymentService/Rollback") == 1
        assert {entry["caller"] for entry in logs[0]["entries"]} == {"", fleet.own.name}
        # Over the socket an enrolled device wants to see the signature too.
        desk.knows("socket", f"unix:{home}/a.sock", "")
        assert desk("deploy", one, "--fleet", "socket", "--no-profile")[0] == 0


@pytest.mark.slow
def test_another_operator_may_what_the_role_says_until_revoked(desk, fleet, home, capsys):
    identity = fleet.enrol(home / "state", "orin")
    bundle = bundles(home)[0]
    bob = Desk(home / "bob", capsys, "bob")
    with running_agent(home / "state", "tls:127.0.0.1:0") as agent:
        for who in (desk, bob):
            who.knows("orin", agent.addresses[0], identity)
        assert desk("deploy", bundle, "--fleet", "orin", "--no-profile")[0] == 0
        assert bob("status", "--fleet", "orin")[0] == 80
        assert "edgectl trust join" in bob.err
        desk("trust", "issue", "bob", "--role", "profile", "-o", home / "bob.json")
        assert bob("trust", "join", home / "bob.json")[0] == 0
        assert bob("status", "--fleet", "orin")[0] == 0
        assert bob("profile", "--fleet", "orin", "--measure", "0.3s")[0] in (0, 3)
        code, refused = bob.json("rollback", "--fleet", "orin")
        assert (code, refused["error"]["reason"]) == (82, "role_refused")
        code, revoked = desk.json("trust", "revoke", "bob")
        assert (code, revoked["devices"][0]["kept"]["revoked"]) == (0, True)
        assert bob("status", "--fleet", "orin")[0] == 81


def test_a_device_that_moved_is_found_and_another_under_its_address_is_refused(desk, fleet, home):
    one, _ = (fleet.enrol(home / name, name) for name in ("one", "two"))
    with (
        running_agent(home / "one", "tls:127.0.0.1:0") as first,
        running_agent(home / "two", "tls:127.0.0.1:0") as other,
    ):
        desk.knows("one", other.addresses[0], one)
        assert desk("status", "--fleet", "one")[0] == 85
        assert "another device of the fleet answers" in desk.err
        desk.knows("one", first.addresses[0], one)
        assert desk("status", "--fleet", "one")[0] == 0
        stranger = FleetTrust(home / "other").enrol(home / "third", "third")
        with running_agent(home / "third", "tls:127.0.0.1:0") as third:
            desk.knows("third", third.addresses[0], stranger)
            assert desk("status", "--fleet", "third")[0] == 85, desk.err
            assert "not of this fleet" in desk.err


def test_certificates_are_renewed_by_the_way_and_used_at_once(desk, home):
    begun_s = time.time() - 300 * DAY_S
    fleet = FleetTrust(desk.config.data_dir, clock=lambda: begun_s)
    identity = fleet.enrol(home / "state", "orin")
    with running_agent(home / "state", "tls:127.0.0.1:0") as agent:
        # Its own certificate is over for months, the device's is due.
        desk.knows("orin", agent.addresses[0], identity)
        assert desk("status", "--fleet", "orin")[0] == 0
        assert [(each.role, each.identity) for each in fleet.authority.register.all()] == [
            ("admin", ""),
            ("device", identity),
            ("admin", ""),
            ("device", identity),
        ]
        presented = ssl.get_server_certificate(("127.0.0.1", int(agent.addresses[0].rpartition(":")[2])))
        document = json.loads((home / "state/trust/identity.json").read_bytes())
        assert presented.strip() == document["certificate"].strip()
        assert document["expires_s"] > time.time() + 300 * DAY_S
        # Once is enough.
        assert desk("status", "--fleet", "orin")[0] == 0
        assert len(fleet.authority.register.all()) == 4
        # And a device that was revoked is neither renewed nor asked for anything.
        assert desk("trust", "revoke", "orin")[0] == 0
        assert desk("status", "--fleet", "orin")[0] == 85
        assert "was revoked" in desk.err


def test_a_device_that_was_away_for_too_long_is_told_from_another(desk, home):
    fleet = FleetTrust(desk.config.data_dir, clock=lambda: 1.5e9)
    identity = fleet.enrol(home / "state", "orin")
    with running_agent(home / "state", "tls:127.0.0.1:0") as agent:
        desk.knows("orin", agent.addresses[0], identity)
        assert desk("status", "--fleet", "orin")[0] == 85
        assert "out of reach for too long" in desk.err
        assert "edgectl device invite orin" in desk.err


def test_a_code_typed_on_the_device_is_all_it_takes(desk, home):
    port, result = free_port(), {}

    def invite():
        result["code"] = run(
            ["device", "invite", "orin", "--host", "127.0.0.1", "--port", str(port), "--valid", "60s"],
            Wiring(desk.config),
        )

    waiting = threading.Thread(target=invite)
    waiting.start()
    code = None
    for _ in range(400):
        shown = desk._capsys.readouterr()
        words = [word for word in shown.err.split() if word.startswith("edgectl-") and len(word) > 60]
        if words:
            code = words[0]
            break
        threading.Event().wait(0.05)
    assert code is not None
    Enroller(home / "state").join(code)
    waiting.join(30)
    assert result["code"] == 0
    assert "orin is enrolled" in desk._capsys.readouterr().out
    _, trust = desk.json("trust", "show")
    (device,) = [each for each in trust["issued"] if each["role"] == "device"]
    with running_agent(home / "state", "tls:127.0.0.1:0") as agent:
        desk.knows("orin", agent.addresses[0], device["identity"])
        assert desk("status", "--fleet", "orin")[0] == 0
