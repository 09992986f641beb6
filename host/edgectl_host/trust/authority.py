"""The authority of a fleet: it says who a device is, who may do what, and who may no more.

Order of each issue: the certificate is made → it is in the register, synced → it is given away. The key may be
encrypted; then `passphrase` is asked when something is signed, and at no other time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgectl_host.trust import certificates
from edgectl_host.trust.certificates import AUTHORITY_S, CLIENT_S, DAY_S, Issuer, Made
from edgectl_host.trust.folder import OWN_FILE, Credentials, TrustFolder
from edgectl_host.trust.register import DEVICE, Holding, Register
from edgectl_host.trust.releases import ReleaseKeyFile, ReleaseSigner
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.errors import EnrolmentError, TrustError, UsageError
from edgectl_protos.domain.invitation import fingerprint_of
from edgectl_protos.domain.trust import Enrolment, Purpose, Revocations, Role, Signed, check_member_name

__all__ = ["Authority", "Grant", "Issued", "belongs", "has_authority", "nobody_to_ask"]

_KEY = "authority-key.pem"
_CERTIFICATE = "authority.pem"
_REVOCATIONS = "revocations.json"
_ENCRYPTED = b"ENCRYPTED"
_MAX_NAME = 64
"""What a certificate takes."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What a device is given."""

    enrolment: Enrolment

    @property
    def name(self) -> str:
        """The device's name in the fleet."""
        return self.enrolment.name

    @property
    def identity(self) -> str:
        """What the device is known by, for life."""
        return self.enrolment.identity

    @property
    def document(self) -> bytes:
        """For the standard input of `edgectl-agent enrol --install`."""
        return canonical_bytes(self.enrolment)


@dataclass(frozen=True, slots=True)
class Grant:
    """What another operator is given, as one file that holds private keys: `edgectl trust join FILE`."""

    own: Credentials
    release_key: ReleaseKeyFile | None = None


def nobody_to_ask() -> bytes:
    """For a key without a passphrase, or a command that signs nothing."""
    raise TrustError(
        "the authority's key is encrypted, and nobody can be asked for the passphrase",
        hint="on a terminal, or with --passphrase-fd N",
    )


class Authority:
    """The authority that this host has."""

    def __init__(
        self,
        folder: TrustFolder,
        *,
        passphrase: Callable[[], bytes] = nobody_to_ask,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._passphrase = passphrase
        self._clock = clock
        self._issuer: Issuer | None = None
        self.register = Register(folder)
        self.releases = ReleaseSigner(folder)

    @classmethod
    def open(cls, path: Path, *, passphrase: Callable[[], bytes] = nobody_to_ask) -> Authority:
        """The authority in a folder.

        Raises:
            TrustError: this host has none.
        """
        folder = TrustFolder(path)
        if has_authority(folder):
            return cls(folder, passphrase=passphrase)
        if belongs(folder):
            raise TrustError(
                "this host joined a fleet, whose authority is on another one", hint="type the command there"
            )
        raise TrustError("this host has no authority of a fleet", hint="edgectl ca init")

    @classmethod
    def init(
        cls,
        path: Path,
        *,
        owner: str,
        name: str = "edgectl fleet",
        passphrase: bytes | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Authority:
        """Make an authority, a release key, and this host's own certificate, an administrator's.

        Raises:
            UsageError: this host is in a fleet already, or the name is no name of one.
        """
        if not 0 < len(name) <= _MAX_NAME:
            raise UsageError(f"a fleet's name has 1 to {_MAX_NAME} characters, not {len(name)}")
        folder = TrustFolder(path)
        with folder.locked():
            if belongs(folder):
                raise UsageError(
                    f"this host belongs to a fleet already: {path}",
                    hint="edgectl trust shows it; each fleet has a home of its own: export EDGECTL_HOME=DIR",
                )
            authority = cls(folder, passphrase=lambda: passphrase or b"", clock=clock)
            key = certificates.new_key()
            certificate = certificates.authority_certificate(key, name, authority._now())
            authority._issuer = Issuer(certificate, key)
            authority.releases.init()
            folder.write(_CERTIFICATE, certificates.pem(certificate).encode())
            folder.save(authority._client(owner, Role.ADMIN, CLIENT_S), OWN_FILE)
            # The key last: without it the folder is not an authority yet, and `init` may be repeated.
            folder.write(_KEY, certificates.key_pem(key, passphrase))
        return authority

    @classmethod
    def ensure(cls, path: Path, *, owner: str, passphrase: Callable[[], bytes] = nobody_to_ask) -> Authority:
        """The authority in a folder, made now if this host belongs to no fleet."""
        folder = TrustFolder(path)
        if not belongs(folder):
            return cls.init(path, owner=owner)
        return cls.open(path, passphrase=passphrase)

    @property
    def encrypted(self) -> bool:
        """Whether signing takes a passphrase."""
        return _ENCRYPTED in self._folder.read(_KEY)

    @property
    def certificate(self) -> x509.Certificate:
        """What the fleet trusts."""
        return certificates.load_certificate(self._folder.read(_CERTIFICATE))

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the authority's certificate, in hex: what a person compares."""
        return fingerprint_of(self.certificate.public_bytes(serialization.Encoding.DER))

    def issue_device(self, csr_pem: str, name: str, *, identity: str = "") -> Issued:
        """A certificate for a device. `identity` is that of one which renews; a new one has it from its key.

        Raises:
            EnrolmentError: the request is none, or the device was revoked.
        """
        public, own = certificates.read_request(csr_pem)
        identity = identity or own
        if self.register.is_revoked(identity):
            raise EnrolmentError(f"the device {identity} was revoked", hint="it joins again with a new key only")
        made = certificates.device_certificate(
            self.signing(), public, name=check_member_name(name), identity=identity, now_s=self._now()
        )
        with self._folder.locked():
            self.register.add(_holding(name, DEVICE, made, identity))
        enrolment = Enrolment(
            name,
            identity,
            certificates.pem(made.certificate),
            self._folder.read(_CERTIFICATE).decode(),
            self.releases.current,
            made.issued_s,
            made.expires_s,
            self.revocations(),
        )
        return Issued(enrolment)

    def issue_client(self, name: str, role: Role, *, life_s: int = CLIENT_S) -> Grant:
        """What another operator needs; with the release key where the role deploys.

        Raises:
            UsageError: the name is none, or the life is no time, or longer than an authority's.
        """
        if not 0 < life_s <= AUTHORITY_S:
            days = AUTHORITY_S // DAY_S
            raise UsageError(f"a certificate may be valid for 1 s to {days} d, not for {life_s} s", hint="--valid 90d")
        self.signing()
        with self._folder.locked():
            own = self._client(name, role, life_s)
        return Grant(own, self.releases.file() if role.may(Role.DEPLOY) else None)

    def renew_own(self, *, only_if_due: bool = False) -> None:
        """A new certificate for this host itself; `only_if_due`: once two thirds of the old one's life are over."""
        own = self._folder.credentials()
        if only_if_due and self._now() < own.expires_s - CLIENT_S / 3:
            return
        self.signing()
        with self._folder.locked():
            self._folder.save(self._client(own.name, Role.ADMIN, CLIENT_S), OWN_FILE)

    def revoke(self, name: str) -> tuple[Holding, ...]:
        """Make all certificates of a name worth nothing; devices are told at the next contact. Those.

        This host's own are replaced first: the new one stays, or nobody could tell the devices.

        Raises:
            UsageError: the name holds none.
        """
        self.signing()
        with self._folder.locked():
            found = self.register.held_by(name, self._now())
            if not found:
                raise UsageError(f"{name!r} holds no certificate", hint="see who does: edgectl trust")
            own = self._folder.credentials()
            if name == own.name:
                self._folder.save(self._client(own.name, Role.ADMIN, CLIENT_S), OWN_FILE)
            self._revoke(found)
        return found

    def revoke_device(self, name: str) -> None:
        """The same for a device, and for no operator of its name; one that holds no certificate any more is fine."""
        if not self._of_device(name):
            return
        self.signing()
        with self._folder.locked():
            self._revoke(self._of_device(name))

    def _of_device(self, name: str) -> tuple[Holding, ...]:
        return tuple(each for each in self.register.held_by(name, self._now()) if each.is_device)

    def _revoke(self, holdings: Iterable[Holding]) -> None:
        new = {each.serial for each in holdings}
        serials = tuple(each.serial for each in self.register.all() if each.revoked_s or each.serial in new)
        payload = canonical_bytes(Revocations(self.epoch() + 1, serials, self._now())).decode()
        message = Signed(payload, "").message(Purpose.REVOCATIONS)
        mark = self.signing().key.sign(message, ec.ECDSA(hashes.SHA256()))
        self._folder.save(Signed(payload, mark.hex()), _REVOCATIONS)
        # The register last: who is interrupted here may revoke again.
        self.register.revoke(new, self._now())

    def revocations(self) -> Signed | None:
        """The newest list; None when nothing was ever revoked."""
        return self._folder.load(Signed, _REVOCATIONS)

    def epoch(self) -> int:
        """The number of the newest list."""
        signed = self.revocations()
        return from_bytes(Revocations, signed.payload.encode(), what="revocations").epoch if signed else 0

    def ask_if_encrypted(self) -> None:
        """Ask for the passphrase now: before anything is drawn over the question, or done that it would interrupt.

        Raises:
            TrustError: the passphrase is wrong.
        """
        if self.encrypted:
            self.signing()

    def signing(self) -> Issuer:
        """The key, for who else signs in the authority's name. The passphrase is asked once, and before the folder is
        locked: other commands need not wait for a person.
        """
        if self._issuer is None:
            passphrase = self._passphrase() if self.encrypted else None
            self._issuer = Issuer(self.certificate, certificates.load_key(self._folder.read(_KEY), passphrase))
        return self._issuer

    def _client(self, name: str, role: Role, life_s: int) -> Credentials:
        issuer, key = self.signing(), certificates.new_key()
        made = certificates.client_certificate(
            issuer, key.public_key(), name=name, role=role, now_s=self._now(), life_s=life_s
        )
        self.register.add(_holding(name, role.value, made))
        certificate, authority = certificates.pem(made.certificate), certificates.pem(issuer.certificate)
        return Credentials(name, role, certificate, certificates.key_pem(key).decode(), authority, made.expires_s)

    def _now(self) -> int:
        return int(self._clock())


def has_authority(folder: TrustFolder) -> bool:
    """Whether this host has the authority of its fleet."""
    return folder.has(_KEY)


def belongs(folder: TrustFolder) -> bool:
    """Whether this host is in a fleet, its own or another's."""
    return has_authority(folder) or (folder.has(OWN_FILE) and not folder.has(_CERTIFICATE))


def _holding(name: str, role: str, made: Made, identity: str = "") -> Holding:
    return Holding(made.serial, name, role, made.issued_s, made.expires_s, identity)
