"""Whoever has no right is refused: real clients against the real agent process, and what its audit log says of them.

TLS refuses most of them before the agent hears of it; then the log has no line, and the process's own output has one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import pytest

from edgectl_agent.core.store.blobs import digest_of
from edgectl_host.trust.audit import Seen, verify
from edgectl_protos.agent.v1 import (
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    info_service_pb2,
    info_service_pb2_grpc,
    profile_service_pb2,
    profile_service_pb2_grpc,
    trust_service_pb2,
    trust_service_pb2_grpc,
)
from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.codec.status import REASON_KEY
from edgectl_protos.domain.trust import Role
from edgectl_testkit.bundles import tiny_bundle
from edgectl_testkit.fleet_trust import FleetTrust, Running, channel_to, running_agent
from edgectl_testkit.serve import short_folder


class Site:
    """A fleet, one enrolled device, its agent."""

    def __init__(self, home: Path, fleet: FleetTrust, identity: str, running: Running) -> None:
        self.home = home
        self.fleet = fleet
        self.identity = identity
        self.running = running
        self.socket, self.address = running.addresses
        self.endpoint = self.address.removeprefix("tls:")

    def channel(self, own, **more):
        return channel_to(self.address, self.identity, own, **more)

    def log(self):
        with trust_stub(self.channel(self.fleet.own)) as stub:
            pieces = stub.ReadAudit(trust_service_pb2.ReadAuditRequest())
            return [json.loads(line) for piece in pieces for line in piece.lines.splitlines()]

    def prints(self, words):
        """Whether the process says this: it may a moment after its client was refused."""
        for _ in range(1000):
            if words in self.running.log.read_text():
                return True
            threading.Event().wait(0.01)
        return False

    def serves(self):
        with trust_stub(self.channel(self.fleet.own)) as stub:
            return stub.GetTrust(trust_service_pb2.GetTrustRequest(), timeout=10).identity == self.identity


@pytest.fixture(scope="module")
def site():
    with short_folder() as home:
        fleet = FleetTrust(home)
        identity = fleet.enrol(home / "state", "bench")
        with running_agent(home / "state", f"unix:{home}/a.sock", "tls:127.0.0.1:0") as running:
            yield Site(home, fleet, identity, running)


@contextlib.contextmanager
def trust_stub(channel):
    with channel:
        yield trust_service_pb2_grpc.TrustServiceStub(channel)


def hello(channel):
    return info_service_pb2_grpc.InfoServiceStub(channel).Hello(
        info_service_pb2.HelloRequest(protocol_min=1, protocol_max=1), timeout=10
    )


def refusal(channel, call=hello):
    """Status, reason and words of a call that must fail."""
    with channel, pytest.raises(grpc.RpcError) as caught:
        call(channel)
    error = caught.value
    reason = dict(error.trailing_metadata() or ()).get(REASON_KEY)
    return error.code(), reason, error.details()


def test_a_member_of_the_fleet_is_served(site):
    with site.channel(site.fleet.own) as channel:
        assert hello(channel).device == "bench"


# --- refused by TLS: the application never hears of them --------------------------------------------------


def test_a_plaintext_client_is_refused(site):
    lines = len(site.log())
    assert refusal(grpc.insecure_channel(site.endpoint))[:2] == (grpc.StatusCode.UNAVAILABLE, None)
    assert site.prints("WRONG_VERSION_NUMBER")
    assert len(site.log()) == lines


def test_a_client_without_a_certificate_is_refused(site):
    channel = site.channel(None, authority=site.fleet.own.authority)
    assert refusal(channel)[:2] == (grpc.StatusCode.UNAVAILABLE, None)
    assert site.prints("PEER_DID_NOT_RETURN_A_CERTIFICATE")


def test_a_client_of_another_authority_is_refused(site, tmp_path):
    other = FleetTrust(tmp_path / "other").own
    # It takes the device for one of its fleet, or it would refuse the device first.
    own = type(other)(other.name, other.role, other.certificate, other.key, site.fleet.own.authority, other.expires_s)
    assert refusal(site.channel(own))[:2] == (grpc.StatusCode.UNAVAILABLE, None)
    # The names are equal, the keys are not.
    assert site.prints("BAD_SIGNATURE")


def test_a_device_of_the_fleet_is_no_client(site):
    document = json.loads((site.home / "state/trust/identity.json").read_bytes())
    own = type(site.fleet.own)("bench", Role.ADMIN, document["certificate"], document["key"], document["authority"], 0)
    assert refusal(site.channel(own))[:2] == (grpc.StatusCode.UNAVAILABLE, None)
    assert site.prints("unsupported certificate purpose")


def test_an_expired_certificate_is_refused(site):
    own = site.fleet.grant_that_is_over("old", Role.ADMIN).own
    assert refusal(site.channel(own))[:2] == (grpc.StatusCode.UNAVAILABLE, None)
    assert site.prints("certificate has expired")


@pytest.mark.parametrize(("version", "spoken"), [("-tls1_3", True), ("-tls1_2", False)])
def test_only_tls_1_3_is_spoken(site, tmp_path, version, spoken):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    own = site.fleet.own
    for name, text in (("c", own.certificate), ("k", own.key), ("a", own.authority)):
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [
            *(openssl, "s_client", "-connect", site.endpoint, version, "-alpn", "h2"),
            *("-cert", str(tmp_path / "c"), "-key", str(tmp_path / "k"), "-CAfile", str(tmp_path / "a")),
        ],
        input=b"",
        capture_output=True,
        timeout=20,
    )
    cipher = re.search(rb"New, .*Cipher is (\S+)", done.stdout)
    assert (cipher is not None and cipher[1] != b"(NONE)") is spoken
    assert (b"TLSv1.3" in done.stdout) is spoken


def test_a_port_scan_learns_nothing_and_does_no_harm(site):
    host, port = site.endpoint.split(":")
    for knock in (b"", b"\0" * 64, b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", os.urandom(3000)):
        with socket.create_connection((host, int(port)), timeout=10) as stranger:
            stranger.sendall(knock)
            with contextlib.suppress(OSError):
                stranger.shutdown(socket.SHUT_WR)
                answer = stranger.recv(4096)
                # At most a TLS alert, which names no program and no version.
                assert answer == b"" or answer[0] == 21
    assert site.serves()


# --- refused by the agent: each is a line in its audit log ------------------------------------------------


def deploys(channel, signed=b"", manifest=b"{}"):
    request = deployment_service_pb2.CreateRequest(manifest=manifest, deployment_id="d1", signed_release=signed)
    return deployment_service_pb2_grpc.DeploymentServiceStub(channel).Create(request, timeout=30)


def profiles(channel):
    request = profile_service_pb2.CreateRunRequest(run_id="r1")
    return profile_service_pb2_grpc.ProfileServiceStub(channel).Create(request, timeout=30)


def administers(channel):
    return trust_service_pb2_grpc.TrustServiceStub(channel).RequestCertificate(
        trust_service_pb2.RequestCertificateRequest(), timeout=30
    )


@pytest.mark.parametrize(
    ("role", "call"), [(Role.VIEW, deploys), (Role.VIEW, profiles), (Role.PROFILE, deploys), (Role.DEPLOY, administers)]
)
def test_a_role_does_not_reach_beyond_itself(site, role, call):
    name = f"{role.value}er"
    code, reason, said = refusal(site.channel(site.fleet.grant(name, role).own), call)
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "role_refused")
    assert f"{name} has the role {role.value}" in said
    line = site.log()[-1]
    assert (line["caller"], line["role"]) == (name, role.value)
    assert line["detail"].startswith("refused: ")


def test_a_deployer_without_a_signature_is_refused(site, tmp_path):
    manifest = (tiny_bundle(tmp_path / "b")[0] / "edgectl.bundle.json").read_bytes()
    own = site.fleet.grant("dora", Role.DEPLOY).own
    code, reason, _ = refusal(site.channel(own), lambda channel: deploys(channel, manifest=manifest))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "release_untrusted")
    assert "is not signed" in site.log()[-1]["detail"]


def test_a_revoked_certificate_is_refused_on_the_open_connection_and_its_calls_are_ended(site, tmp_path):
    manifest = (tiny_bundle(tmp_path / "b")[0] / "edgectl.bundle.json").read_bytes()
    signed = site.fleet.authority.releases.sign(digest_of(manifest), above=0, generation=1)
    own = site.fleet.grant("eve", Role.ADMIN).own
    with site.channel(own) as channel:
        assert deploys(channel, signed, manifest).state == deployment_service_pb2.STATE_STAGING
        deployments = deployment_service_pb2_grpc.DeploymentServiceStub(channel)
        watching = deployments.Watch(deployment_service_pb2.WatchRequest(deployment_id="d1"), timeout=60)
        assert next(watching).deployment_id == "d1"
        site.fleet.authority.revoke("eve")
        with trust_stub(site.channel(site.fleet.own)) as admin:
            request = trust_service_pb2.RevokeRequest(revocations=canonical_bytes(site.fleet.authority.revocations()))
            assert admin.Revoke(request, timeout=30).revocation_epoch == site.fleet.authority.epoch()
        with pytest.raises(grpc.RpcError) as ended:
            list(watching)
        assert ended.value.code() is grpc.StatusCode.CANCELLED
        with pytest.raises(grpc.RpcError) as refused:
            hello(channel)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    # And on a new connection, which TLS lets through.
    code, reason, said = refusal(site.channel(own))
    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "caller_refused")
    assert "eve was revoked" in said
    assert "eve was revoked" in site.log()[-1]["detail"]


def test_a_local_user_without_rights_on_the_socket_is_refused(site):
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    code = (
        f"import os, socket; os.setgroups([]); os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX)\n"
        f"try: s.connect({site.socket.removeprefix('unix:')!r}); print('in')\n"
        f"except PermissionError: print('refused')\n"
        f"try: open({str(site.home / 'state/trust/identity.json')!r}); print('read')\n"
        f"except PermissionError: print('unread')\n"
    )
    # The folder itself is open to everybody: it is the socket's own mode that refuses.
    site.home.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused", "unread"]


def test_the_log_of_all_of_it_is_whole(site):
    lines = []
    with trust_stub(site.channel(site.fleet.own)) as stub:
        for piece in stub.ReadAudit(trust_service_pb2.ReadAuditRequest()):
            lines.append(piece.lines)
    entries, newest = verify(lines, Seen())
    assert newest.number == len(entries) > 5
