"""What the daemon asks of the short-lived process that has a library for keys, and what that answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "CheckCertificate",
    "CheckHost",
    "CheckSignatures",
    "Checked",
    "KeyReply",
    "KeyRequest",
    "MadeKey",
    "MakeKey",
    "Signature",
]


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature to check: message and signature in hex; `key` is Ed25519 in hex, or a certificate in PEM."""

    key: str
    message: str
    signature: str


@dataclass(frozen=True, slots=True)
class CheckSignatures:
    """Are all of these right?"""

    signatures: tuple[Signature, ...]
    op: ClassVar[str] = "check_signatures"


@dataclass(frozen=True, slots=True)
class MakeKey:
    """A new key, and a request that it be certified for a name."""

    name: str
    op: ClassVar[str] = "make_key"


@dataclass(frozen=True, slots=True)
class CheckCertificate:
    """Is this the certificate of this key, for this device, from this authority? All PEM.

    `identity` empty: that of a device which is enrolled for the first time, made from its key.
    """

    key: str
    certificate: str
    authority: str
    identity: str
    op: ClassVar[str] = "check_certificate"


@dataclass(frozen=True, slots=True)
class CheckHost:
    """Is this (DER in hex) a certificate for enrolling, from the authority (PEM) of this fingerprint?"""

    presented: str
    authority: str
    fingerprint: str
    op: ClassVar[str] = "check_host"


@dataclass(frozen=True, slots=True)
class MadeKey:
    """PEM."""

    key: str
    csr: str
    op: ClassVar[str] = "made_key"


@dataclass(frozen=True, slots=True)
class Checked:
    """`wrong` says what is; empty when all is right. `identity` is what a certificate says, if one was asked about."""

    wrong: str = ""
    identity: str = ""
    op: ClassVar[str] = "checked"


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """One question."""

    ask: CheckSignatures | MakeKey | CheckCertificate | CheckHost


@dataclass(frozen=True, slots=True)
class KeyReply:
    """Its answer."""

    answer: MadeKey | Checked
