"""What a host that has the authority does for a device at a contact: newer revocations, a certificate in time.

Nothing polls: a device that nobody talks to needs neither, and certificates live for a year. Revocations were signed
when they were made. A certificate takes the authority's key: whose key is encrypted renews by `edgectl trust renew`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgectl_host.transport.base import TrustCalls
from edgectl_host.trust.authority import Authority
from edgectl_host.trust.register import renewal_due_s
from edgectl_protos.domain.errors import IdentityError
from edgectl_protos.domain.trust import DeviceTrust

__all__ = ["Kept", "keep_up", "state_of", "tell_revocations"]


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


async def tell_revocations(device: TrustCalls, authority: Authority, *, identity: str) -> Kept:
    """Give a device the newest list, where it has an older one; no key is needed for that.

    Raises:
        IdentityError: it says that it is another.
    """
    state = await state_of(device, identity)
    newest = authority.revocations()
    if newest is None or authority.epoch() <= state.revocation_epoch:
        return Kept(state)
    return Kept(await device.revoke(newest), revoked=True)


async def keep_up(
    device: TrustCalls, authority: Authority, *, identity: str, now_s: float, renew_now: bool = False
) -> Kept:
    """Bring a device up to date. `identity` is the one by which it was dialled: it gets a certificate for no other.

    Raises:
        IdentityError: it says that it is another.
    """
    kept = await tell_revocations(device, authority, identity=identity)
    holding = authority.register.newest_of(identity)
    if holding is None or (now_s < renewal_due_s(holding) and not renew_now):
        return kept
    csr = await device.request_certificate()
    issued = authority.issue_device(csr, holding.name, identity=identity)
    return replace(kept, trust=await device.install_certificate(issued.document), renewed=True)
