"""Who calls: from what TLS proved about a certificate, and what was revoked since. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edgectl_protos.domain.errors import CallerError
from edgectl_protos.domain.trust import EXPIRES_URI, ISSUED_URI, ROLE_URI, SERIAL_URI, Role

__all__ = ["Caller", "Presented", "judge", "read_names"]

_HINT = "ask the fleet's administrator for a new one: edgectl trust issue NAME --role ROLE"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as the server knows it. `serial` is empty for whoever may open the unix socket."""

    name: str
    role: Role
    serial: str = ""


@dataclass(frozen=True, slots=True)
class Presented:
    """What a client certificate says, TLS having checked that the fleet's authority signed it."""

    name: str
    role: Role
    serial: str
    issued_s: int
    expires_s: int


def read_names(common_names: Sequence[str], alternative_names: Sequence[str]) -> Presented:
    """Read the names of a certificate.

    Raises:
        CallerError: it is no client certificate of edgectl.
    """
    words = []
    for prefix in (ROLE_URI, SERIAL_URI, ISSUED_URI, EXPIRES_URI):
        found = [name.removeprefix(prefix) for name in alternative_names if name.startswith(prefix)]
        if len(found) != 1:
            raise CallerError(f"the certificate has {len(found)} names {prefix}…, not one", hint=_HINT)
        words.append(found[0])
    role, serial, issued, expires = words
    if len(common_names) != 1 or not (issued.isdecimal() and expires.isdecimal()):
        raise CallerError("the certificate does not say whose it is, or until when", hint=_HINT)
    try:
        return Presented(common_names[0], Role(role), serial, int(issued), int(expires))
    except ValueError as exc:
        raise CallerError(f"the certificate has the role {role!r}, which is not known here", hint=_HINT) from exc


def judge(presented: Presented, *, now_s: float, revoked: Collection[str]) -> Caller:
    """The caller, if its certificate still holds.

    Raises:
        CallerError: it was revoked, or is over.
    """
    if presented.serial in revoked:
        raise CallerError(f"the certificate of {presented.name} was revoked", hint=_HINT)
    if presented.expires_s <= now_s:
        raise CallerError(f"the certificate of {presented.name} has expired", hint=_HINT)
    return Caller(presented.name, presented.role, presented.serial)
