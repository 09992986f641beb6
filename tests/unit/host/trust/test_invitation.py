"""A code, typed on a device: real TLS on loopback between the two real programs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from dataclasses import replace

import pytest

from edgectl_agent.enrol import Enroller
from edgectl_host.trust.invitation import Invitations
from edgectl_protos.domain.errors import AddressError, EdgectlError, EnrolmentError
from edgectl_protos.domain.invitation import Invitation
from edgectl_testkit.fleet_trust import FleetTrust


class Host:
    """Waits for a device on a thread of its own."""

    def __init__(self, fleet, name="orin-1", *, valid_s=30.0, port=0):
        self.said = []
        self.result = None
        self.error = None
        self._shown = threading.Event()
        self.invitation = None
        invitations = Invitations(fleet.folder, fleet.authority, self.said.append)

        def show(invitation):
            self.invitation = invitation
            self._shown.set()

        def wait():
            try:
                self.result = asyncio.run(until_over())
            except EdgectlError as exc:
                self.error = exc
            except asyncio.CancelledError:
                pass
            self._shown.set()

        async def until_over():
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            return await invitations.invite(name, host="127.0.0.1", port=port, valid_s=valid_s, show=show)

        self._thread = threading.Thread(target=wait)

    def __enter__(self):
        self._thread.start()
        assert self._shown.wait(10)
        return self

    def withdraw(self):
        """As Ctrl-C does."""
        self._loop.call_soon_threadsafe(self._task.cancel)

    def __exit__(self, *_):
        self._thread.join(40)
        assert not self._thread.is_alive()


def audit(state):
    return [json.loads(line) for line in (state / "trust/audit.jsonl").read_text().splitlines()]


def test_the_device_that_has_the_code_is_enrolled(fleet, tmp_path):
    with Host(fleet) as host:
        said = Enroller(tmp_path / "s").join(host.invitation.code)
    assert host.result.issued.name == "orin-1"
    assert host.result.peer == "127.0.0.1"
    assert said == f"enrolled as orin-1, device {host.result.issued.identity}"
    assert audit(tmp_path / "s")[-1]["event"] == "enrol"
    assert host.said == []


def test_a_code_that_was_used_is_refused_and_both_are_told(fleet, tmp_path):
    with Host(fleet) as first:
        Enroller(tmp_path / "a").join(first.invitation.code)
    port = int(first.invitation.address.rpartition(":")[2])
    with pytest.raises(EnrolmentError, match="nobody waits"):
        Enroller(tmp_path / "b").join(first.invitation.code)
    # The same host waits for another device, at the same place.
    with Host(fleet, "orin-2", port=port) as second:
        with pytest.raises(EnrolmentError, match="for orin-1 was used") as caught:
            Enroller(tmp_path / "b").join(first.invitation.code)
        assert "edgectl device invite" in caught.value.hint
        Enroller(tmp_path / "c").join(second.invitation.code)
    (told,) = second.said
    assert "orin-1 was used" in told
    assert "orin-1 was used" in audit(tmp_path / "b")[-1]["detail"]
    names = [each.name for each in fleet.authority.register.all() if each.is_device]
    assert names == ["orin-1", "orin-2"]


def test_a_wrong_secret_or_name_is_refused_and_the_right_device_still_comes_in(fleet, tmp_path):
    with Host(fleet) as host:
        for wrong in (replace(host.invitation, secret=bytes(16)), replace(host.invitation, name="orin-9")):
            with pytest.raises(EnrolmentError):
                Enroller(tmp_path / "x").join(wrong.code)
        Enroller(tmp_path / "s").join(host.invitation.code)
    assert len(host.said) == 2
    assert "its secret is wrong" in host.said[0]
    assert "the proof is wrong" in host.said[1]


def test_a_host_that_is_not_the_one_in_the_code_is_told_nothing(fleet, tmp_path):
    other = FleetTrust(tmp_path / "other")
    with Host(other) as impostor:
        code = replace(impostor.invitation, fingerprint=fleet.authority.fingerprint).code
        with pytest.raises(EnrolmentError, match="is not the host that printed the code"):
            Enroller(tmp_path / "s").join(code)
        impostor.withdraw()
    assert "not taking this host" in impostor.said[0]


def test_a_device_of_the_fleet_cannot_enrol_others(fleet, tmp_path):
    """It has a certificate of the authority, and its code would name the right fingerprint."""
    fleet.enrol(tmp_path / "thief", "thief")
    own = json.loads((tmp_path / "thief/trust/identity.json").read_bytes())
    pair = tmp_path / "pair.pem"
    pair.write_text(own["key"] + own["certificate"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            bare, _ = server.accept()
            with context.wrap_socket(bare, server_side=True) as connection:
                connection.sendall(json.dumps(own["authority"]).encode() + b"\n")
                heard.append(connection.recv(100))

        heard = []
        thread = threading.Thread(target=serve)
        thread.start()
        invitation = Invitation(
            "orin-1", f"tls:127.0.0.1:{server.getsockname()[1]}", fleet.authority.fingerprint, bytes(16)
        )
        with pytest.raises(EnrolmentError, match="not one for enrolling"):
            Enroller(tmp_path / "s").join(invitation.code)
        thread.join(20)
    assert heard == [b""]


def test_a_code_runs_out_or_is_withdrawn(fleet, tmp_path):
    with Host(fleet, valid_s=0.05) as host:
        pass
    assert isinstance(host.error, EnrolmentError)
    port = int(host.invitation.address.rpartition(":")[2])
    with Host(fleet, "orin-2", port=port) as later:
        with pytest.raises(EnrolmentError, match="for orin-1 ran out"):
            Enroller(tmp_path / "s").join(host.invitation.code)
        later.withdraw()
    assert "ran out" in later.said[0]
    assert [past["how"] for past in json.loads((fleet.path / "invitations.json").read_bytes())["invitations"]] == [
        "ran out",
        "was withdrawn",
    ]


@contextlib.contextmanager
def stranger(host):
    """A connection that knows where the host waits, and nothing else."""
    name, port = host.invitation.address.removeprefix("tls:").split(":")
    with socket.create_connection((name, int(port)), timeout=20) as connection:
        yield connection


def test_what_is_no_request_changes_nothing(fleet, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    lines = [b"\n", b"{}\n", b"[" * 5000 + b"\n", b"\xff\n", b"x" * (1 << 21)]
    with Host(fleet) as host:
        for noise in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + b"\0" * 500):
            with stranger(host) as bare:
                bare.sendall(noise)
        for line in lines:
            with stranger(host) as bare, context.wrap_socket(bare) as connection:
                connection.recv(1 << 16)
                with contextlib.suppress(OSError):
                    connection.sendall(line)
                    connection.recv(1 << 16)
        Enroller(tmp_path / "s").join(host.invitation.code)
    assert len(host.said) == len(lines)


def test_a_device_that_knows_the_code_and_cannot_be_given_a_certificate_ends_the_wait(fleet, tmp_path, monkeypatch):
    def refuses(*_, **__):
        raise EnrolmentError("the device was revoked")

    monkeypatch.setattr(fleet.authority, "issue_device", refuses)
    with Host(fleet) as host, pytest.raises(EnrolmentError, match="was revoked"):
        Enroller(tmp_path / "s").join(host.invitation.code)
    assert host.error.message == "the device was revoked"
    assert host.said == []


def test_a_device_that_comes_as_the_time_runs_out_is_enrolled_or_not_on_both_sides(fleet, tmp_path, monkeypatch):
    real = fleet.authority.issue_device

    def issues(csr, name):
        # The certificate exists, and the time is over before the device has it.
        time_is_over.set()
        return real(csr, name)

    time_is_over = threading.Event()
    monkeypatch.setattr(fleet.authority, "issue_device", issues)
    real_wait = asyncio.wait

    async def wait(tasks, timeout):
        if timeout == 1234.0:
            while not time_is_over.is_set():
                await asyncio.sleep(0)
            return set(), set(tasks)
        return await real_wait(tasks, timeout=timeout)

    monkeypatch.setattr("edgectl_host.trust.invitation.asyncio.wait", wait)
    with Host(fleet, valid_s=1234.0) as host:
        said = Enroller(tmp_path / "s").join(host.invitation.code)
    assert host.result is not None
    assert said == f"enrolled as orin-1, device {host.result.issued.identity}"


def test_a_port_that_is_taken_is_named(fleet):
    with socket.create_server(("0.0.0.0", 0)) as server, Host(fleet, port=server.getsockname()[1]) as host:
        pass
    assert isinstance(host.error, AddressError)
