"""What a host that has the authority does for a device at a contact: newer revocations, a certificate in time.

Nothing polls: a device that nobody talks to needs neither, and certificates live for a year. A person with an encrypted
key does the same by `edgectl trust renew`.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgectl_host.transport.base import TrustCalls
from edgectl_host.trust.authority import Authority
from edgectl_host.trust.register import renewal_due_s
from edgectl_protos.domain.trust import DeviceTrust

__all__ = ["Kept", "keep_up"]


@dataclass(frozen=True, slots=True)
class Kept:
    """What was done, and what the device has accepted now."""

    trust: DeviceTrust
    revoked: bool = False
    renewed: bool = False


async def keep_up(device: TrustCalls, authority: Authority, *, now_s: float, renew_now: bool = False) -> Kept:
    """Bring a device up to date."""
    state = await device.state()
    revoked = renewed = False
    newest = authority.revocations()
    if newest is not None and authority.epoch() > state.revocation_epoch:
        state, revoked = await device.revoke(newest), True
    holdings = [each for each in authority.register.all() if each.identity == state.identity]
    if state.identity and holdings and (renew_now or now_s >= renewal_due_s(holdings, state.identity)):
        csr = await device.request_certificate()
        issued = authority.issue_device(csr, state.name, identity=state.identity)
        state, renewed = await device.install_certificate(issued.document), True
    return Kept(state, revoked, renewed)
