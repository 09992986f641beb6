"""Enrolment, renewal, revocation and admission on the device, against a real authority and the real key process."""

from __future__ import annotations

import errno
import io
import os
from dataclasses import replace

import pytest

from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.trust.admission import Admission
from edgectl_agent.core.trust.audit import AuditLog
from edgectl_agent.core.trust.folder import Accepted, TrustFolder
from edgectl_agent.core.trust.keyring import Keyring
from edgectl_agent.core.trust.membership import Membership
from edgectl_agent.core.trust.tasks import KeyRequest
from edgectl_agent.enrol import Enroller
from edgectl_agent.keys import answer
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.errors import (
    DeviceError,
    EdgectlError,
    EnrolmentError,
    ReleaseTrustError,
    StateError,
    TrustError,
)
from edgectl_protos.domain.invitation import Invitation
from edgectl_protos.domain.trust import Enrolment, EnrolmentAnswer, ReleaseKey, Role, SignedRelease
from edgectl_testkit.fleet_trust import FleetTrust

A, B = Digest("a" * 64), Digest("b" * 64)


class HereKeyring(Keyring):
    """Answers in this process: the other one has a test of its own."""

    def __init__(self):
        super().__init__("", timeout_s=0)

    def _ask(self, ask, kind):
        reply = answer(KeyRequest(ask)).answer
        assert isinstance(reply, kind)
        return reply


class Device:
    def __init__(self, path, *, clock=lambda: 1.8e9, disk=None):
        self.folder = TrustFolder(path / "trust", disk or Disk())
        self.audit = AuditLog(path / "trust", Disk())
        self.membership = Membership(self.folder, HereKeyring(), self.audit, clock=clock)
        self.admission = Admission(self.folder, HereKeyring())

    def join(self, fleet, name="bench"):
        issued = fleet.authority.issue_device(self.membership.request(name), name)
        self.membership.enrol(issued.document)
        return issued


@pytest.fixture
def fleet(tmp_path):
    return FleetTrust(tmp_path / "home")


@pytest.fixture
def device(tmp_path):
    return Device(tmp_path / "state")


def sign(fleet, release, *, above, generation=1):
    return fleet.authority.releases.sign(release, above=above, generation=generation)


# --- enrolment -----------------------------------------------------------------------------------------


def test_a_device_that_was_enrolled_says_so_and_its_key_is_its_own(fleet, device):
    issued = device.join(fleet)
    now = device.membership.describe()
    assert (now.name, now.identity) == ("bench", issued.identity)
    assert len(issued.identity) == 32
    assert ((device.folder.path / "identity.json").stat().st_mode & 0o777) == 0o600
    assert device.folder.pending() is None


def test_a_device_that_was_never_enrolled_says_that(device):
    assert device.membership.describe().identity == ""
    with pytest.raises(StateError):
        device.membership.request_again()


def test_the_real_process_makes_keys_and_checks_certificates(fleet, tmp_path):
    enroller = Enroller(tmp_path / "s")
    issued = fleet.authority.issue_device(enroller.request("bench"), "bench")
    assert enroller.install(io.BytesIO(issued.document)) == f"enrolled as bench, device {issued.identity}"


def test_a_refusal_has_one_line_in_the_log(tmp_path):
    enroller = Enroller(tmp_path)
    enroller._ask = lambda invitation: EnrolmentAnswer(refusal="the code was used")
    code = Invitation("bench", "tls:127.0.0.1:7443", "ab" * 32, bytes(16)).code
    with pytest.raises(EnrolmentError, match="was used"):
        enroller.join(code)
    enroller._ask = lambda invitation: EnrolmentAnswer(Enrolment("bench", "i", "c", "a", ReleaseKey("00", 1), 1, 2))
    with pytest.raises(EnrolmentError, match="no key waits"):
        enroller.join(code)
    lines = [line.decode() for line in AuditLog(tmp_path / "trust", Disk()).read(0)]
    assert [("was used" in line, "no key waits" in line) for line in lines] == [(True, False), (False, True)]


def test_root_does_not_enrol_into_a_folder_of_the_agents_user(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can own a folder for another user")
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(DeviceError) as caught:
        Enroller(tmp_path)
    assert "sudo -u '#65534'" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_device_without_the_library_is_told_what_to_install(tmp_path):
    keyring = Keyring("/bin/false", timeout_s=5)
    with pytest.raises(TrustError) as caught:
        keyring.make_key("x")
    assert "edgectl-agent[trust]" in caught.value.hint


def test_a_certificate_of_another_key_name_or_fleet_is_refused(fleet, device, tmp_path):
    csr = device.membership.request("bench")
    other = FleetTrust(tmp_path / "other")
    right = fleet.authority.issue_device(csr, "bench").enrolment
    foreign = other.authority.issue_device(csr, "bench").enrolment
    stranger = Device(tmp_path / "x")
    wrong = [
        fleet.authority.issue_device(stranger.membership.request("bench"), "bench").enrolment,
        fleet.authority.issue_device(csr, "another").enrolment,
        replace(right, authority=foreign.authority),
        replace(right, identity="0" * 32),
        replace(right, certificate="-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n"),
        replace(right, certificate=fleet.grant("bench", Role.VIEW).own.certificate),
    ]
    for enrolment in wrong:
        with pytest.raises(EnrolmentError):
            device.membership.enrol(canonical_bytes(enrolment))
    assert device.folder.identity() is None
    device.membership.enrol(canonical_bytes(right))


def test_a_certificate_is_installed_once(fleet, device):
    issued = device.join(fleet)
    with pytest.raises(EnrolmentError, match="no key waits"):
        device.membership.enrol(issued.document)


def test_a_renewal_keeps_the_identity_and_changes_the_key(fleet, device):
    first = device.join(fleet)
    before = device.folder.identity()
    csr = device.membership.request_again()
    assert device.folder.identity() == before
    again = fleet.authority.issue_device(csr, "bench", identity=first.identity)
    device.membership.renew(again.document)
    after = device.folder.identity()
    assert (after.identity, after.name) == (before.identity, before.name)
    assert after.key != before.key


def test_a_renewal_by_another_fleet_or_for_another_device_is_refused(fleet, device, tmp_path):
    first = device.join(fleet)
    before = device.folder.identity()
    csr = device.membership.request_again()
    other = FleetTrust(tmp_path / "other")
    for issued in (
        other.authority.issue_device(csr, "bench", identity=first.identity),
        fleet.authority.issue_device(csr, "bench"),
    ):
        with pytest.raises(EnrolmentError, match="another fleet, or for another device"):
            device.membership.renew(issued.document)
    assert device.folder.identity() == before


# --- revocation ----------------------------------------------------------------------------------------


def test_a_newer_list_is_taken_and_an_older_one_changes_nothing(fleet, device):
    device.join(fleet)
    bob, eve = (fleet.grant(name, Role.VIEW) for name in ("bob", "eve"))
    assert bob != eve
    serials = {each.name: each.serial for each in fleet.authority.register.all()}
    fleet.authority.revoke("bob")
    older = canonical_bytes(fleet.authority.revocations())
    fleet.authority.revoke("eve")
    newer = canonical_bytes(fleet.authority.revocations())
    assert device.membership.revoke(newer) == {serials["bob"], serials["eve"]}
    assert device.membership.revoke(older) == frozenset()
    assert set(device.membership.revoked()) == {serials["bob"], serials["eve"]}
    assert device.membership.describe().revocation_epoch == 2


def test_a_list_of_another_authority_or_an_altered_one_is_refused(fleet, device, tmp_path):
    device.join(fleet)
    other = FleetTrust(tmp_path / "other")
    other.grant("bob", Role.VIEW)
    other.authority.revoke("bob")
    foreign = other.authority.revocations()
    altered = replace(foreign, payload=foreign.payload.replace('"epoch":1', '"epoch":9'))
    for signed in (foreign, altered):
        with pytest.raises(EnrolmentError, match="not signed by the fleet"):
            device.membership.revoke(canonical_bytes(signed))


def test_a_device_that_joins_later_knows_who_was_revoked(fleet, device):
    fleet.grant("bob", Role.VIEW)
    fleet.authority.revoke("bob")
    device.join(fleet)
    assert device.membership.describe().revocation_epoch == 1


# --- time ----------------------------------------------------------------------------------------------


def test_a_clock_at_1970_makes_nothing_valid_again_and_deletes_nothing(fleet, tmp_path):
    device = Device(tmp_path / "state", clock=lambda: 17.0)
    issued = device.join(fleet)
    assert device.membership.now_s() == issued.enrolment.issued_s
    device.membership.saw(issued.enrolment.issued_s + 500)
    again = Device(tmp_path / "state", clock=lambda: 3.0)
    assert again.membership.now_s() == issued.enrolment.issued_s + 500
    assert again.folder.identity() is not None


def test_a_clock_in_the_future_is_not_remembered(fleet, tmp_path):
    device = Device(tmp_path / "state", clock=lambda: 9e9)
    device.join(fleet)
    device.membership.saw(10)
    assert Device(tmp_path / "state", clock=lambda: 1.0).membership.now_s() < 9e9


class ReadOnlyDisk(Disk):
    refuses = False

    def _rename(self, source, target):
        if self.refuses:
            raise OSError(errno.EROFS, "Read-only file system")
        super()._rename(source, target)


def test_a_disk_that_keeps_no_time_refuses_nobody_and_the_time_holds_until_the_agent_ends(fleet, tmp_path):
    disk = ReadOnlyDisk()
    device = Device(tmp_path / "state", clock=lambda: 17.0, disk=disk)
    issued = device.join(fleet)
    disk.refuses = True
    device.membership.saw(issued.enrolment.issued_s + 500)
    assert device.membership.now_s() == issued.enrolment.issued_s + 500


def test_a_fifo_in_the_place_of_a_document_is_refused_at_once(fleet, device):
    device.join(fleet)
    path = device.folder.path / "accepted.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(TrustError, match="is no file"):
        device.membership.revoked()


# --- releases ------------------------------------------------------------------------------------------


def test_a_device_outside_a_fleet_takes_what_it_is_given(device):
    device.admission.admit(A, b"")


def test_a_device_of_a_fleet_takes_only_what_the_fleet_signed(fleet, device, tmp_path):
    device.join(fleet)
    good = sign(fleet, A, above=0)
    document = from_bytes(SignedRelease, good, what="x")
    payload = document.record.payload
    forged = [
        b"",
        b"{}",
        b"\xff" * 100,
        b"[" * 60_000,
        b"x" * 70_000,
        FleetTrust(tmp_path / "other").authority.releases.sign(A, above=0, generation=1),
        canonical_bytes(replace(document, record=replace(document.record, signature="00" * 64))),
        canonical_bytes(replace(document, record=replace(document.record, signature="zz"))),
        canonical_bytes(replace(document, record=replace(document.record, payload=payload.replace(":1,", ":2,")))),
    ]
    for signed in forged:
        with pytest.raises(ReleaseTrustError):
            device.admission.admit(A, signed)
    with pytest.raises(ReleaseTrustError, match="is of release"):
        device.admission.admit(B, good)
    assert device.membership.describe().release_counter == 0
    device.admission.admit(A, good)
    assert device.membership.describe().release_counter == 1


def test_an_older_record_is_refused_and_a_newer_one_puts_the_older_release_back(fleet, device):
    device.join(fleet)
    old, new = sign(fleet, A, above=0), sign(fleet, B, above=1)
    device.admission.admit(A, old)
    device.admission.admit(A, old)
    device.admission.admit(B, new)
    with pytest.raises(ReleaseTrustError, match="has taken 2 already"):
        device.admission.admit(A, old)
    device.admission.admit(A, sign(fleet, A, above=2))


def test_two_releases_cannot_have_one_number(fleet, device):
    device.join(fleet)
    device.admission.admit(A, sign(fleet, A, above=0))
    with pytest.raises(ReleaseTrustError):
        device.admission.admit(B, sign(fleet, B, above=0))


def test_a_new_release_key_is_known_by_the_old_one_and_replaces_it(fleet, device):
    device.join(fleet)
    before = sign(fleet, A, above=0)
    for _ in range(3):
        fleet.authority.releases.rotate()
    device.admission.admit(B, sign(fleet, B, above=0))
    assert device.membership.describe().release_generation == 4
    with pytest.raises(ReleaseTrustError, match="did not sign"):
        device.admission.admit(A, before)


def test_a_key_that_the_old_one_did_not_sign_is_refused(fleet, device, tmp_path):
    device.join(fleet)
    other = FleetTrust(tmp_path / "other")
    other.authority.releases.rotate()
    with pytest.raises(ReleaseTrustError):
        device.admission.admit(A, other.authority.releases.sign(A, above=0, generation=1))


def test_a_host_with_an_old_key_is_told_so_before_it_sends_anything(fleet):
    with pytest.raises(ReleaseTrustError, match="knows release key 2"):
        sign(fleet, A, above=0, generation=2)


def test_enrolling_again_into_the_same_fleet_keeps_the_number(fleet, device):
    device.join(fleet)
    device.admission.admit(A, sign(fleet, A, above=6))
    device.join(fleet)
    assert device.membership.describe().release_counter == 7


# --- what lies on the disk -----------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\x00", b"[" * 100_000, b'{"time_s": 1e999}', None])
def test_a_damaged_document_is_an_error_of_the_tree_and_trusts_nobody(fleet, device, damage):
    device.join(fleet)
    path = device.folder.path / "accepted.json"
    path.unlink() if damage is None else path.write_bytes(damage)
    for question in (device.membership.revoked, device.membership.now_s, device.membership.describe):
        with pytest.raises(TrustError):
            question()
    with pytest.raises(TrustError):
        device.admission.admit(A, sign(fleet, A, above=0))


def test_a_damaged_device_can_be_enrolled_again(fleet, device):
    device.join(fleet)
    (device.folder.path / "accepted.json").write_bytes(b"{")
    device.join(fleet)
    assert isinstance(device.folder.accepted(), Accepted)
    (device.folder.path / "identity.json").write_bytes(b"{")
    device.join(fleet)
    assert device.membership.describe().identity


def test_an_enrolment_document_that_is_none_is_refused(device):
    device.membership.request("bench")
    for data in (b"", b"[", b"x" * (1 << 20) + b"y", b'"\\ud800"'):
        with pytest.raises(EdgectlError):
            device.membership.enrol(data)
