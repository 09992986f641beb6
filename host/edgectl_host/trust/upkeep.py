"""What a host that has the authority does for a device at a contact: newer revocations, a certificate in time.

Nothing polls: a device that nobody talks to needs neither, and certificates live for a year. A person with an encrypted
key does the same by `edgectl trust renew`.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgectl_host.transport.base import TrustCalls
from edgectl_host.trust.authority import Authority
from edgectl_host.trust.register import renewal_due_s
from edgectl_protos.domain.errors import IdentityError
from edgectl_protos.domain.trust import DeviceTrust

__all__ = ["Kept", "keep_up", "state_of"]


@dataclass(frozen=True, slots=True)
class Kept:
    """What was done, and what the device has accepted now."""

    trust: DeviceTrust
    revoked: bool = False
    renewed: bool = False


async def state_of(device: TrustCalls, identity: str) -> DeviceTrust:
    """What the device of this identity has accepted.

    Raises:
        IdentityError: it says that it is another.
    """
    state = await device.state()
    if state.identity != identity:
        raise IdentityError(
            f"the device of identity {identity} says that it is {state.identity or 'in no fleet'}",
            hint="was it enrolled anew elsewhere? edgectl device add, or edgectl device invite NAME",
        )
    return state


async def keep_up(
    device: TrustCalls, authority: Authority, *, identity: str, now_s: float, renew_now: bool = False
) -> Kept:
    """Bring a device up to date. `identity` is the one by which it was dialled: it gets a certificate for no other.

    Raises:
        IdentityError: it says that it is another.
    """
    state = await state_of(device, identity)
    revoked = renewed = False
    newest = authority.revocations()
    if newest is not None and authority.epoch() > state.revocation_epoch:
        state, revoked = await device.revoke(newest), True
    holding = authority.register.newest_of(identity)
    if holding is not None and (renew_now or now_s >= renewal_due_s(holding)):
        csr = await device.request_certificate()
        issued = authority.issue_device(csr, holding.name, identity=identity)
        state, renewed = await device.install_certificate(issued.document), True
    return Kept(state, revoked, renewed)
