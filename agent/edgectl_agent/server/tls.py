"""The credentials of the network face: mutual TLS, with the certificate that the device has at each handshake."""

from __future__ import annotations

from typing import Any

import grpc

from edgectl_agent.core.trust.folder import Identity, TrustFolder
from edgectl_protos.domain.errors import TrustError

__all__ = ["credentials"]


def credentials(folder: TrustFolder) -> grpc.ServerCredentials:
    """Mutual TLS as the enrolled device.

    Raises:
        TrustError: it was not enrolled.
    """
    identity = folder.identity()
    if identity is None:
        raise TrustError(
            "this device was not enrolled, and without a certificate it listens on no network",
            hint="from the host: edgectl device add, or edgectl device invite NAME; here: edgectl-agent enrol CODE",
        )
    used = identity

    def newest() -> Any:
        # At each handshake; None keeps the one in use.
        nonlocal used
        try:
            now = folder.identity()
        except TrustError:
            return None
        if now is None or now == used:
            return None
        used = now
        return _configuration(now)

    return grpc.dynamic_ssl_server_credentials(_configuration(identity), newest, require_client_authentication=True)


def _configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
    pair = (identity.key.encode(), identity.certificate.encode())
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=identity.authority.encode())
