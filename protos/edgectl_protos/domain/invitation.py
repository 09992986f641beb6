"""A one-time code: where the host waits, by which certificate it is known, and a secret that is never sent.

The host presents a certificate of its authority and, inside the connection, the authority itself, whose fingerprint is
in the code. The device proves the secret over this very connection, its name and its request, so that neither can be
exchanged on the way. Standard library only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass

from edgectl_protos.domain.address import TlsAddress, parse_address
from edgectl_protos.domain.errors import EdgectlError, EnrolmentError
from edgectl_protos.domain.trust import check_member_name

__all__ = ["ENROLMENT_SERVER", "MAX_CODE_CHARACTERS", "Invitation", "fingerprint_of"]

ENROLMENT_SERVER = "enrolment.edgectl"
"""The DNS name in the certificate that a host presents while it waits; no device has it."""

MAX_CODE_CHARACTERS = 600
_PREFIX = "edgectl-"
_SECRET_BYTES = 16


def fingerprint_of(certificate_der: bytes) -> str:
    """The SHA-256 of a certificate, in hex."""
    return hashlib.sha256(certificate_der).hexdigest()


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a code says. `fingerprint` is that of the authority's certificate."""

    name: str
    address: str
    fingerprint: str
    secret: bytes

    def __post_init__(self) -> None:
        check_member_name(self.name)
        if not isinstance(parse_address(self.address), TlsAddress):
            raise EnrolmentError(f"the code names {self.address}, which is no address on a network")
        if len(self.secret) != _SECRET_BYTES or len(bytes.fromhex(self.fingerprint)) != hashlib.sha256().digest_size:
            raise EnrolmentError("the code has a secret or a fingerprint of another length")

    @property
    def id(self) -> str:
        """Names the invitation without telling its secret."""
        return hashlib.sha256(b"edgectl invitation v1\0" + self.secret).hexdigest()[:16]

    @property
    def code(self) -> str:
        """The invitation as a word to copy."""
        parts = [self.name, self.address, self.fingerprint, self.secret.hex()]
        return _PREFIX + base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, code: str) -> Invitation:
        """Read a code.

        Raises:
            EnrolmentError: it is none, or was cut off.
        """
        word = code.strip()
        try:
            if not word.startswith(_PREFIX) or len(word) > MAX_CODE_CHARACTERS:
                raise ValueError
            text = word.removeprefix(_PREFIX)
            parts = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
            name, address, fingerprint, secret = map(str, parts)
            return cls(name, address, fingerprint, bytes.fromhex(secret))
        except (ValueError, TypeError, RecursionError, EdgectlError) as exc:
            raise EnrolmentError(
                "this is no code of edgectl, or a part of it is missing",
                hint="copy the whole line that edgectl device invite printed",
            ) from exc

    def proof(self, *, host_certificate_der: bytes, csr: str) -> str:
        """What shows that the secret is known, over this connection and this request; hex."""
        parts = [self.id.encode(), self.name.encode(), fingerprint_of(host_certificate_der).encode(), csr.encode()]
        return hmac.new(self.secret, b"edgectl enrolment v1\0" + b"\0".join(parts), hashlib.sha256).hexdigest()
