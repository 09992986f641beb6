"""Keys and certificates of a fleet: ECDSA on P-256, which is what gRPC's TLS takes. No files here.

Every certificate is valid since 1970: a board without a clock battery comes up there, and must be reachable then. That
it is not used after its time is checked by devices against the newest time that the fleet has signed, see ADR 13.
"""

from __future__ import annotations

import datetime
import hashlib
import secrets
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgectl_protos.domain.errors import EnrolmentError, TrustError
from edgectl_protos.domain.invitation import ENROLMENT_SERVER
from edgectl_protos.domain.trust import (
    EXPIRES_URI,
    ISSUED_URI,
    ROLE_URI,
    SERIAL_URI,
    Role,
    check_member_name,
    server_name,
)

__all__ = [
    "AUTHORITY_S",
    "CLIENT_S",
    "DAY_S",
    "Issuer",
    "Made",
    "authority_certificate",
    "client_certificate",
    "device_certificate",
    "enrolment_certificate",
    "key_pem",
    "load_certificate",
    "load_key",
    "new_key",
    "pem",
    "read_request",
]

DAY_S = 86400
AUTHORITY_S = 20 * 365 * DAY_S
DEVICE_S = 365 * DAY_S
CLIENT_S = 90 * DAY_S
_BEGINNING = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_SERIAL_BITS = 120
_UNREADABLE = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion)
"""What the library says of bytes that are no key, request or certificate, or of a kind that it does not know."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """An authority that is about to sign."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Made:
    """A certificate and what is remembered of it. `serial` in hex."""

    certificate: x509.Certificate
    serial: str
    issued_s: int
    expires_s: int


def new_key() -> ec.EllipticCurvePrivateKey:
    """A private key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    """A private key as a file has it, encrypted when there is a passphrase."""
    kept: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        kept = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, kept)


def load_key(data: bytes, passphrase: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    """Read a private key.

    Raises:
        TrustError: it is none of ours, or the passphrase is wrong.
    """
    try:
        key = serialization.load_pem_private_key(data, passphrase)
    except _UNREADABLE as exc:
        raise TrustError(f"the private key cannot be read: {exc}", hint="is the passphrase right?") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TrustError(f"the private key is a {type(key).__name__}, not one on P-256")
    return key


def load_certificate(data: bytes) -> x509.Certificate:
    """Read a certificate.

    Raises:
        TrustError: it is none.
    """
    try:
        return x509.load_pem_x509_certificate(data)
    except _UNREADABLE as exc:
        raise TrustError(f"the certificate cannot be read: {exc}") from exc


def pem(certificate: x509.Certificate) -> str:
    """A certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def read_request(csr_pem: str) -> tuple[ec.EllipticCurvePublicKey, str]:
    """The key for which a certificate is asked, and the identity that a device with it has.

    Raises:
        EnrolmentError: it is no request, was not signed by its key, or the key is of another kind.
    """
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        right, key = request.is_signature_valid, request.public_key()
    except _UNREADABLE as exc:
        raise EnrolmentError(f"the request for a certificate cannot be read: {exc}") from exc
    if not right or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise EnrolmentError("the request for a certificate is not signed by a key on P-256")
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key, hashlib.sha256(spki).hexdigest()[:32]


def authority_certificate(key: ec.EllipticCurvePrivateKey, name: str, now_s: int) -> x509.Certificate:
    """The certificate that a fleet trusts, signed by itself."""
    return (
        _builder(key.public_key(), name, _name(name), x509.random_serial_number(), now_s + AUTHORITY_S)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def device_certificate(
    issuer: Issuer,
    public: ec.EllipticCurvePublicKey,
    *,
    name: str,
    identity: str,
    now_s: int,
) -> Made:
    """What a device presents to hosts."""
    names: list[x509.GeneralName] = [x509.DNSName(server_name(identity))]
    return _leaf(
        issuer, public, check_member_name(name), names, x509.oid.ExtendedKeyUsageOID.SERVER_AUTH, now_s, DEVICE_S
    )


def enrolment_certificate(issuer: Issuer, public: ec.EllipticCurvePublicKey, *, now_s: int) -> Made:
    """What a host presents to a device that has a code."""
    names: list[x509.GeneralName] = [x509.DNSName(ENROLMENT_SERVER)]
    return _leaf(issuer, public, "enrolment", names, x509.oid.ExtendedKeyUsageOID.SERVER_AUTH, now_s, DAY_S)


def client_certificate(
    issuer: Issuer,
    public: ec.EllipticCurvePublicKey,
    *,
    name: str,
    role: Role,
    now_s: int,
    life_s: int = CLIENT_S,
) -> Made:
    """What a person's or a machine's edgectl presents to devices."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(ROLE_URI + role.value)]
    return _leaf(
        issuer, public, check_member_name(name), names, x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH, now_s, life_s
    )


def _leaf(
    issuer: Issuer,
    public: ec.EllipticCurvePublicKey,
    name: str,
    names: list[x509.GeneralName],
    use: x509.ObjectIdentifier,
    now_s: int,
    life_s: int,
) -> Made:
    number = secrets.randbits(_SERIAL_BITS) | 1
    serial, expires_s = f"{number:x}", now_s + life_s
    names = [
        *names,
        x509.UniformResourceIdentifier(SERIAL_URI + serial),
        x509.UniformResourceIdentifier(f"{ISSUED_URI}{now_s}"),
        x509.UniformResourceIdentifier(f"{EXPIRES_URI}{expires_s}"),
    ]
    certificate = (
        _builder(public, name, issuer.certificate.subject, number, expires_s)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(issuer.key, hashes.SHA256())
    )
    return Made(certificate, serial, now_s, expires_s)


def _builder(
    public: ec.EllipticCurvePublicKey, name: str, issuer: x509.Name, serial: int, expires_s: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(_BEGINNING)
        .not_valid_after(_BEGINNING + datetime.timedelta(seconds=expires_s))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
