"""What a device gets at a contact, and what one gets that says it is another."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from edgectl_agent.core.trust.tasks import KeyRequest, MakeKey
from edgectl_agent.keys import answer
from edgectl_host.fleet.inventory import Device
from edgectl_host.transport.base import TrustCalls
from edgectl_host.trust.audit import SeenLogs
from edgectl_host.trust.authority import Authority
from edgectl_host.trust.register import renewal_due_s
from edgectl_host.trust.upkeep import keep_up, tell_revocations
from edgectl_host.workflows.trust import bring_up_to_date, read_logs
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.errors import IdentityError
from edgectl_protos.domain.trust import AuditEntry, DeviceTrust, Enrolment, Role
from edgectl_testkit.fake_client import FakeClient
from edgectl_testkit.fake_device import FakeDevice


class Calls(TrustCalls):
    """A device that says what a test tells it to."""

    def __init__(self, state: DeviceTrust) -> None:
        self.said = state
        self.installed: list[Enrolment] = []
        self.log = [canonical_bytes(AuditEntry(1, 0.0, "enrol", "-", "", "")) + b"\n"]

    async def state(self):
        return self.said

    async def request_certificate(self):
        return answer(KeyRequest(MakeKey(self.said.name))).answer.csr

    async def install_certificate(self, enrolment):
        self.installed.append(from_bytes(Enrolment, enrolment, what="enrolment"))
        return self.said

    async def revoke(self, revocations):
        self.said = replace(self.said, revocation_epoch=1)
        return self.said

    async def audit(self, from_number):
        for line in self.log:
            yield line


@pytest.fixture
def orin(fleet):
    issued = fleet.authority.issue_device(answer(KeyRequest(MakeKey("orin-1"))).answer.csr, "orin-1")
    return Calls(DeviceTrust("orin-1", issued.identity))


@pytest.fixture
def victim(fleet):
    return fleet.authority.issue_device(answer(KeyRequest(MakeKey("victim"))).answer.csr, "victim").identity


def connect(calls):
    async def connected(device):
        client = FakeClient(FakeDevice(device.name))
        client.trust = calls
        return client

    return connected


async def test_a_certificate_is_renewed_in_its_time_under_the_same_name_and_identity(fleet, orin):
    identity = orin.said.identity
    due_s = renewal_due_s(fleet.authority.register.newest_of(identity))
    kept = await keep_up(orin, fleet.authority, identity=identity, now_s=due_s - 1)
    assert (kept.renewed, kept.revoked, orin.installed) == (False, False, [])
    assert (await keep_up(orin, fleet.authority, identity=identity, now_s=due_s)).renewed
    assert [(given.name, given.identity) for given in orin.installed] == [("orin-1", identity)]


async def test_newer_revocations_are_told_once(fleet, orin):
    fleet.grant("bob", Role.VIEW)
    fleet.authority.revoke("bob")
    kept = [
        (await keep_up(orin, fleet.authority, identity=orin.said.identity, now_s=time.time())).revoked for _ in range(2)
    ]
    assert kept == [True, False]


async def test_a_device_that_says_it_is_another_gets_no_certificate_of_that_one(fleet, orin, victim):
    identity = orin.said.identity
    orin.said = replace(orin.said, name="victim", identity=victim)
    before = fleet.authority.register.all()
    with pytest.raises(IdentityError, match=f"{identity} says that it is {victim}"):
        await keep_up(orin, fleet.authority, identity=identity, now_s=time.time(), renew_now=True)
    device = Device("orin-1", ("tls:orin-1",), identity)
    (told,) = await bring_up_to_date([device], connect(orin), fleet.authority, renew_now=True)
    assert told.failure.reason == "device_is_another"
    assert orin.installed == []
    assert fleet.authority.register.all() == before


async def test_a_log_that_was_seen_is_not_begun_anew_under_another_identity(fleet, orin):
    device = Device("orin-1", ("tls:orin-1",), orin.said.identity)
    seen = SeenLogs(fleet.folder)
    (log,) = await read_logs([device], connect(orin), seen)
    assert [entry.event for entry in log.value.entries] == ["enrol"]
    orin.log = []
    (log,) = await read_logs([device], connect(orin), seen)
    assert log.failure.reason == "audit_broken"
    orin.said = replace(orin.said, identity="cd" * 16)
    (log,) = await read_logs([device], connect(orin), seen)
    assert log.failure.reason == "device_is_another"


async def test_revocations_are_told_without_a_passphrase(tmp_path):
    Authority.init(tmp_path, owner="ada", passphrase=b"horse").issue_client("bob", Role.VIEW)
    Authority.open(tmp_path, passphrase=lambda: b"horse").revoke("bob")
    device = Calls(DeviceTrust("orin-1", "ab" * 16))
    for told in (True, False):
        kept = await tell_revocations(device, Authority.open(tmp_path), identity="ab" * 16)
        assert (kept.revoked, kept.trust.revocation_epoch) == (told, 1)
