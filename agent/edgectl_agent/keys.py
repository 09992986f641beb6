"""`python -m edgectl_agent.keys`: one question about keys on standard input, its answer on standard output, the end.

The only code of the agent that loads `cryptography`, in a process of its own: in the daemon it would cost 25 MB for
ever, and what reads foreign certificates and signatures is not where the state is.
"""

from __future__ import annotations

import hashlib
import sys

from edgectl_agent.core.trust.tasks import (
    CheckCertificate,
    Checked,
    CheckHost,
    CheckSignatures,
    KeyReply,
    KeyRequest,
    MadeKey,
    MakeKey,
    Signature,
)
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.invitation import ENROLMENT_SERVER, fingerprint_of
from edgectl_protos.domain.trust import MAX_TRUST_DOCUMENT_BYTES, server_name

__all__ = ["answer", "main"]


def main() -> int:
    """Answer one question."""
    request = from_bytes(KeyRequest, sys.stdin.buffer.read(MAX_TRUST_DOCUMENT_BYTES * 8), what="request")
    sys.stdout.buffer.write(canonical_bytes(answer(request)))
    return 0


def answer(request: KeyRequest) -> KeyReply:
    """The answer to a question."""
    ask = request.ask
    if isinstance(ask, MakeKey):
        return KeyReply(_make_key(ask))
    if isinstance(ask, CheckCertificate):
        return KeyReply(_check_certificate(ask))
    if isinstance(ask, CheckHost):
        return KeyReply(_check_host(ask))
    return KeyReply(_check_signatures(ask))


def _make_key(ask: MakeKey) -> MadeKey:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, ask.name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return MadeKey(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode(), csr.public_bytes(pem).decode()
    )


def _unreadable() -> tuple[type[Exception], ...]:
    """What the library raises of a certificate or key that is none, or of a kind that it does not know."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    of_extensions = (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
    return (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, *of_extensions)


def _check_certificate(ask: CheckCertificate) -> Checked:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_private_key(ask.key.encode(), password=None)
        certificate = x509.load_pem_x509_certificate(ask.certificate.encode())
        authority = x509.load_pem_x509_certificate(ask.authority.encode())
        spki = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        if certificate.public_key() != key.public_key():
            return Checked("the certificate is of another key")
        certificate.verify_directly_issued_by(authority)
        authority.verify_directly_issued_by(authority)
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except InvalidSignature:
        return Checked("the certificate is not from this authority")
    except _unreadable() as exc:
        return Checked(f"it cannot be read: {exc}")
    identity = ask.identity or hashlib.sha256(spki).hexdigest()[:32]
    if x509.oid.ExtendedKeyUsageOID.SERVER_AUTH not in uses:
        return Checked("the certificate is not one of a device")
    if server_name(identity) not in names.get_values_for_type(x509.DNSName):
        return Checked(f"the certificate is not of the device {identity}")
    return Checked(identity=identity)


def _check_host(ask: CheckHost) -> Checked:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization

    try:
        authority = x509.load_pem_x509_certificate(ask.authority.encode())
        if fingerprint_of(authority.public_bytes(serialization.Encoding.DER)) != ask.fingerprint:
            return Checked("its authority has another fingerprint")
        presented = x509.load_der_x509_certificate(bytes.fromhex(ask.presented))
        presented.verify_directly_issued_by(authority)
        names = presented.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except InvalidSignature:
        return Checked("its certificate is not from its authority")
    except _unreadable() as exc:
        return Checked(f"what it sent cannot be read: {exc}")
    # A device of the fleet has a certificate too, and must not enrol others.
    if ENROLMENT_SERVER not in names.get_values_for_type(x509.DNSName):
        return Checked("its certificate is not one for enrolling")
    return Checked()


def _check_signatures(ask: CheckSignatures) -> Checked:
    for index, signature in enumerate(ask.signatures):
        if not _is_right(signature):
            return Checked(f"signature {index + 1} of {len(ask.signatures)} is wrong")
    return Checked()


def _is_right(signature: Signature) -> bool:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    try:
        message, mark = bytes.fromhex(signature.message), bytes.fromhex(signature.signature)
        if signature.key.startswith("-----BEGIN CERTIFICATE-----"):
            public = x509.load_pem_x509_certificate(signature.key.encode()).public_key()
            if not isinstance(public, ec.EllipticCurvePublicKey):
                return False
            public.verify(mark, message, ec.ECDSA(hashes.SHA256()))
        else:
            ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.key)).verify(mark, message)
    except InvalidSignature:
        return False
    except _unreadable():
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
