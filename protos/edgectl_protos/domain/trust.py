"""What host and device say to each other about trust: roles, signed records, enrolment, the audit log.

A signature is over `PURPOSE NUL payload`, the payload being carried as the text that was signed: nothing is written
again before it is compared. Standard library only; signatures are made and checked by whoever has a library for them.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field

from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.errors import EnrolmentError, UsageError

__all__ = [
    "EXPIRES_URI",
    "IDENTITY_SUFFIX",
    "ISSUED_URI",
    "MAX_TRUST_DOCUMENT_BYTES",
    "ROLE_URI",
    "SERIAL_URI",
    "AuditEntry",
    "DeviceTrust",
    "Enrolment",
    "EnrolmentAnswer",
    "EnrolmentRequest",
    "Purpose",
    "ReleaseKey",
    "ReleaseRecord",
    "Revocations",
    "Role",
    "Signed",
    "SignedRelease",
    "check_member_name",
    "server_name",
]

ROLE_URI = "edgectl:role:"
ISSUED_URI = "edgectl:issued:"
EXPIRES_URI = "edgectl:expires:"
SERIAL_URI = "edgectl:serial:"
"""Subject alternative names of a client certificate: what gRPC hands to a server without parsing a certificate."""

IDENTITY_SUFFIX = ".device.edgectl"
MAX_TRUST_DOCUMENT_BYTES = 1 << 20

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,62}")


def check_member_name(text: str) -> str:
    """Refuse a name of a device or a person that a certificate and a terminal cannot both carry.

    Raises:
        UsageError: it is empty, longer than 63, or has other characters than letters, digits and `._@+-`.
    """
    if not _NAME.fullmatch(text):
        raise UsageError(f"{text[:80]!r} is no name: 1 to 63 letters, digits, dots, dashes, underscores, + or @")
    return text


def server_name(identity: str) -> str:
    """The name that a device's certificate carries, and that a host asks for: it stays with the device for life."""
    return f"{identity}{IDENTITY_SUFFIX}"


class Role(enum.Enum):
    """What a client may do; each may do what those before it may."""

    VIEW = "view"
    PROFILE = "profile"
    DEPLOY = "deploy"
    ADMIN = "admin"

    def may(self, needed: Role) -> bool:
        """Whether this role covers another."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Purpose(enum.Enum):
    """What a signature is for; one made for another purpose is worth nothing."""

    RELEASE = "edgectl release v1"
    RELEASE_KEY = "edgectl release key v1"
    REVOCATIONS = "edgectl revocations v1"


@dataclass(frozen=True, slots=True)
class Signed:
    """A payload, as it was signed, and its signature in hex."""

    payload: str
    signature: str

    def message(self, purpose: Purpose) -> bytes:
        """The bytes that were signed."""
        return purpose.value.encode() + b"\0" + self.payload.encode()


@dataclass(frozen=True, slots=True)
class ReleaseKey:
    """An Ed25519 key (32 bytes in hex) that signs releases. Each generation is signed by the one before."""

    public: str
    generation: int


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """Leave to install a release. A device takes no record whose counter is not above the last one that it took."""

    release: Digest
    counter: int
    signed_s: int


@dataclass(frozen=True, slots=True)
class SignedRelease:
    """A signed `ReleaseRecord`, and every change of the release key, oldest first, as signed `ReleaseKey`s."""

    record: Signed
    keys: tuple[Signed, ...] = ()


@dataclass(frozen=True, slots=True)
class Revocations:
    """Serial numbers, in hex, of certificates that are worth nothing any more. A newer list has a higher epoch."""

    epoch: int = 0
    serials: tuple[str, ...] = ()
    issued_s: int = 0


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What the fleet's authority gives to a device: certificate and authority are PEM."""

    name: str
    identity: str
    certificate: str
    authority: str
    release_key: ReleaseKey
    issued_s: int
    expires_s: int
    revocations: Signed | None = None


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """What a device sends to whoever gave it a code. `proof` is an HMAC with the code's secret; see `trust.md`."""

    invitation: str
    name: str
    csr: str
    proof: str


@dataclass(frozen=True, slots=True)
class EnrolmentAnswer:
    """The enrolment, or why there is none."""

    enrolment: Enrolment | None = None
    refusal: str = ""

    def granted(self) -> Enrolment:
        """The enrolment.

        Raises:
            EnrolmentError: there is none.
        """
        if self.enrolment is None:
            raise EnrolmentError(
                self.refusal or "the host gave no reason", hint="ask for a new code: edgectl device invite NAME"
            )
        return self.enrolment


@dataclass(frozen=True, slots=True)
class DeviceTrust:
    """What a device has accepted so far. `identity` is empty when it was never enrolled.

    `audit_count` and `audit_head` are the number and the hash of the newest line of its audit log.
    """

    name: str = ""
    identity: str = ""
    expires_s: int = 0
    revocation_epoch: int = 0
    release_counter: int = 0
    release_generation: int = 0
    audit_count: int = 0
    audit_head: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of a device's audit log. `previous` is the BLAKE3 of the line before, in hex."""

    number: int
    at_s: float
    event: str
    caller: str
    detail: str
    previous: str
    role: str = field(default="")
