from __future__ import annotations

import datetime
import fcntl
import io
import json
import stat

import pytest
from cryptography import x509

from edgectl_agent.core.trust.callers import read_names
from edgectl_agent.core.trust.tasks import KeyRequest, MakeKey
from edgectl_agent.keys import answer
from edgectl_host.trust.authority import Authority
from edgectl_host.trust.certificates import DEVICE_S, load_certificate
from edgectl_host.trust.folder import TrustFolder
from edgectl_host.trust.grants import join_fleet, write_grant
from edgectl_host.trust.register import renewal_due_s
from edgectl_host.trust.releases import ReleaseSigner
from edgectl_protos.domain.errors import EnrolmentError, TrustError, UsageError
from edgectl_protos.domain.trust import Role


def csr(name="orin-1"):
    return answer(KeyRequest(MakeKey(name))).answer.csr


def test_what_holds_a_key_is_its_owners_alone(fleet):
    for path in fleet.path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.name == "lock"
    assert stat.S_IMODE(fleet.path.stat().st_mode) == 0o700


def test_a_key_that_others_may_read_is_refused(fleet):
    (fleet.path / "authority-key.pem").chmod(0o644)
    with pytest.raises(TrustError, match="others may read") as caught:
        Authority.open(fleet.path).signing()
    assert "chmod 600" in caught.value.hint


def test_a_fleet_is_made_once(fleet):
    with pytest.raises(UsageError, match="already") as caught:
        Authority.init(fleet.path, owner="ada")
    assert "EDGECTL_HOME" in caught.value.hint
    assert Authority.ensure(fleet.path, owner="eve").fingerprint == fleet.authority.fingerprint


def test_a_host_without_a_fleet_is_told_how_to_make_one(tmp_path):
    with pytest.raises(TrustError) as caught:
        Authority.open(tmp_path)
    assert caught.value.hint == "edgectl ca init"
    with pytest.raises(TrustError, match="no fleet"):
        TrustFolder(tmp_path).credentials()


def test_a_passphrase_is_asked_when_something_is_signed_and_once(tmp_path):
    Authority.init(tmp_path / "t", owner="ada", passphrase=b"correct horse")
    assert b"ENCRYPTED" in (tmp_path / "t/authority-key.pem").read_bytes()
    asked = []

    def passphrase():
        asked.append(1)
        return b"correct horse"

    authority = Authority.open(tmp_path / "t", passphrase=passphrase)
    assert authority.register.all()[0].name == "ada"
    assert not asked
    authority.issue_client("bob", Role.VIEW)
    authority.issue_device(csr(), "orin-1")
    assert len(asked) == 1


@pytest.mark.parametrize(
    "sign",
    [
        lambda authority: authority.issue_client("bob", Role.VIEW),
        lambda authority: authority.issue_device(csr(), "orin-1"),
        lambda authority: authority.renew_own(),
        lambda authority: authority.revoke("ada"),
    ],
)
def test_nobody_waits_for_who_types_a_passphrase(tmp_path, sign):
    Authority.init(tmp_path / "t", owner="ada", passphrase=b"correct horse")

    def passphrase():
        with (tmp_path / "t" / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return b"correct horse"

    sign(Authority.open(tmp_path / "t", passphrase=passphrase))


def test_a_wrong_passphrase_is_refused(tmp_path):
    Authority.init(tmp_path / "t", owner="ada", passphrase=b"right")
    with pytest.raises(TrustError, match="cannot be read"):
        Authority.open(tmp_path / "t", passphrase=lambda: b"wrong").signing()
    with pytest.raises(TrustError, match="nobody can be asked"):
        Authority.open(tmp_path / "t").signing()


def test_an_interrupted_init_may_be_repeated(tmp_path):
    Authority.init(tmp_path / "t", owner="ada")
    (tmp_path / "t/authority-key.pem").unlink()
    assert Authority.init(tmp_path / "t", owner="ada").register.all()


def test_a_device_certificate_names_the_identity_and_only_serves(fleet):
    issued = fleet.authority.issue_device(csr(), "orin-1")
    certificate = load_certificate(issued.enrolment.certificate.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [f"{issued.identity}.device.edgectl"]
    uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_every_certificate_is_valid_for_a_clock_at_1970(fleet):
    own = load_certificate(fleet.own.certificate.encode())
    device = load_certificate(fleet.authority.issue_device(csr(), "d").enrolment.certificate.encode())
    for certificate in (own, device, fleet.authority.certificate):
        assert certificate.not_valid_before_utc == datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def test_a_client_certificate_says_what_the_agent_reads(fleet):
    grant = fleet.grant("bob", Role.DEPLOY, life_s=100)
    certificate = load_certificate(grant.own.certificate.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    read = read_names(["bob"], uris)
    holding = fleet.authority.register.all()[-1]
    assert (read.role, read.serial, read.expires_s) == (Role.DEPLOY, holding.serial, holding.issued_s + 100)
    assert f"{certificate.serial_number:x}" == holding.serial


@pytest.mark.parametrize(
    "request_", ["", "x", "-----BEGIN CERTIFICATE REQUEST-----\nMII=\n-----END CERTIFICATE REQUEST-----"]
)
def test_what_is_no_request_gets_nothing(fleet, request_):
    before = len(fleet.authority.register.all())
    with pytest.raises(EnrolmentError):
        fleet.authority.issue_device(request_, "orin-1")
    assert len(fleet.authority.register.all()) == before


def test_a_revoked_device_gets_no_certificate_for_its_identity(fleet):
    issued = fleet.authority.issue_device(csr(), "orin-1")
    fleet.authority.revoke("orin-1")
    with pytest.raises(EnrolmentError, match="was revoked"):
        fleet.authority.issue_device(csr(), "orin-1", identity=issued.identity)
    assert fleet.authority.issue_device(csr(), "orin-1").identity != issued.identity


def test_revoking_who_holds_nothing_is_refused(fleet):
    fleet.grant("bob", Role.VIEW)
    fleet.authority.revoke("bob")
    for name in ("bob", "nobody"):
        with pytest.raises(UsageError, match="holds no certificate"):
            fleet.authority.revoke(name)
    assert fleet.authority.epoch() == 1


def test_a_device_that_is_revoked_takes_no_operator_of_its_name_with_it_and_may_be_so_already(fleet):
    fleet.grant("orin-1", Role.VIEW)
    fleet.authority.issue_device(csr(), "orin-1")
    fleet.authority.revoke_device("orin-1")
    fleet.authority.revoke_device("orin-1")
    assert {each.role for each in fleet.authority.register.held_by("orin-1", 0)} == {"view"}
    assert fleet.authority.epoch() == 1


def test_a_revocation_that_was_interrupted_is_repeated(fleet, monkeypatch):
    fleet.grant("bob", Role.VIEW)

    def interrupted(serials, now_s):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fleet.authority.register, "revoke", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fleet.authority.revoke("bob")
    (serial,) = (each.serial for each in fleet.authority.revoke("bob"))
    listed = json.loads(fleet.authority.revocations().payload)
    assert (listed["epoch"], set(listed["serials"])) == (2, {serial})


def test_who_revokes_himself_has_a_new_certificate_and_the_old_ones_are_worth_nothing(fleet):
    before = fleet.own
    revoked = fleet.authority.revoke(before.name)
    old, new = fleet.authority.register.all()
    assert revoked[0].serial == old.serial
    assert old.revoked_s > 0
    assert not new.revoked_s
    assert fleet.own.certificate != before.certificate


def test_renewal_comes_after_two_thirds_of_life_and_not_for_all_at_once(fleet):
    identities = [fleet.authority.issue_device(csr(), f"d{n}").identity for n in range(8)]
    holdings = fleet.authority.register.all()
    due = []
    for identity in identities:
        (holding,) = (each for each in holdings if each.identity == identity)
        due.append((renewal_due_s(holding) - holding.issued_s) / DEVICE_S)
    assert all(2 / 3 <= share <= 2 / 3 + 1 / 9 for share in due)
    assert max(due) - min(due) > 0.01


def test_another_operator_joins_with_one_file(fleet, tmp_path):
    path = tmp_path / "bob.json"
    write_grant(path, lambda: fleet.grant("bob", Role.DEPLOY))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    folder = TrustFolder(tmp_path / "bobs")
    join_fleet(folder, io.BytesIO(path.read_bytes()))
    assert (folder.credentials().name, folder.credentials().role) == ("bob", Role.DEPLOY)
    assert folder.has("release-key.json")
    with pytest.raises(TrustError, match="on another one"):
        Authority.open(folder.path)


def test_what_has_no_place_to_go_is_not_issued(fleet, tmp_path):
    path = tmp_path / "bob.json"
    path.write_text("a holiday picture")
    with pytest.raises(UsageError, match="is there already"):
        write_grant(path, lambda: fleet.grant("bob", Role.DEPLOY))
    assert path.read_text() == "a holiday picture"
    assert [each.name for each in fleet.authority.register.all()] == [fleet.own.name]


def test_a_grant_that_is_refused_leaves_no_file(fleet, tmp_path):
    with pytest.raises(UsageError):
        write_grant(tmp_path / "bob.json", lambda: fleet.grant("b o b", Role.VIEW))
    assert not (tmp_path / "bob.json").exists()


def test_the_administrators_host_does_not_take_a_lesser_role(fleet, tmp_path):
    path = tmp_path / "bob.json"
    write_grant(path, lambda: fleet.grant("bob", Role.PROFILE))
    with pytest.raises(UsageError, match="has the authority"):
        join_fleet(fleet.folder, io.BytesIO(path.read_bytes()))
    assert fleet.own.role is Role.ADMIN


def test_an_older_grant_leaves_the_newer_release_key(fleet, tmp_path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    write_grant(old, lambda: fleet.grant("bob", Role.DEPLOY))
    fleet.authority.releases.rotate()
    write_grant(new, lambda: fleet.grant("bob", Role.DEPLOY))
    folder = TrustFolder(tmp_path / "bobs")
    for path in (old, new, old):
        join_fleet(folder, io.BytesIO(path.read_bytes()))
    assert ReleaseSigner(folder).current.generation == 2


@pytest.mark.parametrize("life_s", [0, -1, 10**12])
def test_a_certificate_for_no_time_or_for_ever_is_refused(fleet, life_s):
    with pytest.raises(UsageError, match="may be valid"):
        fleet.grant("bob", Role.VIEW, life_s=life_s)


@pytest.mark.parametrize("name", ["", "n" * 65])
def test_a_fleet_has_a_name_that_a_certificate_takes(tmp_path, name):
    with pytest.raises(UsageError, match="1 to 64"):
        Authority.init(tmp_path / "t", owner="ada", name=name)


def test_a_viewer_gets_no_release_key(fleet):
    assert fleet.grant("bob", Role.VIEW).release_key is None
    assert fleet.grant("bob", Role.PROFILE).release_key is None


def test_a_host_of_another_fleet_does_not_change_sides(fleet, tmp_path):
    from edgectl_testkit.fleet_trust import FleetTrust

    other = FleetTrust(tmp_path / "other")
    folder = TrustFolder(tmp_path / "bobs")
    for number, each in enumerate((fleet, other)):
        write_grant(tmp_path / f"{number}.json", lambda each=each: each.grant("bob", Role.VIEW))
    join_fleet(folder, io.BytesIO((tmp_path / "0.json").read_bytes()))
    with pytest.raises(UsageError, match="another fleet"):
        join_fleet(folder, io.BytesIO((tmp_path / "1.json").read_bytes()))


@pytest.mark.parametrize("name", ["issued.json", "own-key.json", "revocations.json", "release-key.json"])
@pytest.mark.parametrize("damage", [b"", b"{", b"[" * 100_000, b"\xff"])
def test_a_damaged_file_is_named(fleet, name, damage):
    (fleet.path / name).write_bytes(damage)
    (fleet.path / name).chmod(0o600)
    authority = Authority.open(fleet.path)
    with pytest.raises(TrustError, match=name):
        [authority.register.all(), authority.epoch(), authority.releases.current, fleet.own]
