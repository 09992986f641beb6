"""How a device is dialled: its socket, or mutual TLS with the name that the device was enrolled under.

The name in the certificate is the device's identity and not its address: a device that moved is found again, and
another one that answers under its old address is refused before anything is said to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from edgectl_host.trust.folder import Credentials
from edgectl_protos.domain.address import UnixAddress, parse_address
from edgectl_protos.domain.errors import EdgectlError, IdentityError, TrustError, UnreachableError
from edgectl_protos.domain.trust import server_name

__all__ = ["Dialled", "dialled", "explained"]

Option = tuple[str, str | int]


@dataclass(frozen=True, slots=True)
class Dialled:
    """What gRPC needs to open a channel; `credentials` None for a unix socket."""

    target: str
    credentials: grpc.ChannelCredentials | None
    options: tuple[Option, ...]


def dialled(device: str, address: str, identity: str, own: Callable[[], Credentials], *, now_s: float) -> Dialled:
    """How to reach a device under one of its addresses.

    Raises:
        AddressError: the address is none.
        UnreachableError: nobody listens on the socket.
        TrustError: this host, or the device, belongs to no fleet, or this host's certificate is over.
    """
    where = parse_address(address)
    options: tuple[Option, ...] = (("grpc.enable_http_proxy", 0),)
    if isinstance(where, UnixAddress):
        if not Path(where.path).exists():
            raise UnreachableError(
                f"{device}: no agent listens on {where.path}",
                hint=f"start it there: edgectl-agent run --state-dir DIR --listen unix:{where.path}",
            )
        return Dialled(f"unix:{os.path.abspath(where.path)}", None, options)
    if not identity:
        raise TrustError(
            f"{device}: it has an address on the network, and was never enrolled",
            hint=f"edgectl device add USER@{where.host}, or edgectl device invite {device}",
        )
    mine = own()
    if mine.expires_s <= now_s:
        raise TrustError(
            "this host's own certificate is over",
            hint="edgectl trust renew where the authority is; else ask there: edgectl trust issue NAME --role ROLE",
        )
    credentials = grpc.ssl_channel_credentials(mine.authority.encode(), mine.key.encode(), mine.certificate.encode())
    named = ("grpc.ssl_target_name_override", server_name(identity))
    return Dialled(where.endpoint, credentials, (*options, named))


def explained(error: EdgectlError, device: str, address: str) -> EdgectlError:
    """What it means for a device when TLS says no; other errors as they are."""
    if not isinstance(error, UnreachableError):
        return error
    said = error.message
    if "Hostname Verification" in said:
        return IdentityError(
            f"{device}: another device of the fleet answers at {address}",
            hint=f"has it another address now? edgectl device ls; was it enrolled anew? edgectl device invite {device}",
        )
    if "certificate has expired" in said:
        return IdentityError(
            f"{device}: its certificate is over, it was out of reach for too long",
            hint=f"enrol it again: edgectl device add, or edgectl device invite {device}",
        )
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return IdentityError(
            f"{device}: what answers at {address} is not of this fleet",
            hint=f"has it another address now? was it enrolled by another host? edgectl device invite {device}",
        )
    return error
