"""How a device is dialled: its socket, or mutual TLS with the name that the device was enrolled under.

The name in the certificate is the device's identity and not its address: a device that moved is found again, and
another one that answers under its old address is refused before anything is said to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import grpc.aio

from edgectl_host.trust.folder import Credentials
from edgectl_protos.domain.address import UnixAddress, parse_address
from edgectl_protos.domain.errors import EdgectlError, IdentityError, TrustError, UnreachableError
from edgectl_protos.domain.trust import server_name

__all__ = ["CHANNEL_OPTIONS", "dial", "explained"]

CHANNEL_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    # Each channel has a connection of its own: lanes of an upload are several.
    ("grpc.use_local_subchannel_pool", 1),
    # A stopped agent, or a cut without a word, is noticed within ten seconds of any call. Not more often: while a
    # device measures, each of these pings wakes its daemon.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # This one decides; without it an answer is waited for a minute.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 500),
    # An attempt to connect is given up after this: on a line that loses packets, one takes seconds.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


def dial(device: str, address: str, identity: str, own: Callable[[], Credentials], *, now_s: float) -> grpc.aio.Channel:
    """A channel to a device under one of its addresses; nothing is sent yet.

    Raises:
        AddressError: the address is none.
        UnreachableError: nobody listens on the socket.
        TrustError: this host, or the device, belongs to no fleet, or this host's certificate is over.
    """
    where = parse_address(address)
    if isinstance(where, UnixAddress):
        if not Path(where.path).exists():
            raise UnreachableError(
                f"{device}: no agent listens on {where.path}",
                hint=f"start it there: edgectl-agent run --state-dir DIR --listen unix:{where.path}",
            )
        return grpc.aio.insecure_channel(f"unix:{os.path.abspath(where.path)}", options=CHANNEL_OPTIONS)
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
    return grpc.aio.secure_channel(where.endpoint, credentials, options=(*CHANNEL_OPTIONS, named))


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
    if "SSL_ERROR_SSL" in said:
        return IdentityError(
            f"{device}: what answers at {address} is not of this fleet",
            hint=f"has it another address now? was it enrolled by another host? edgectl device invite {device}",
        )
    return error
