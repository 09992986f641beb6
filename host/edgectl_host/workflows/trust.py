"""Trust across a fleet: devices are brought up to date, and their audit logs are read and checked. All at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from edgectl_host.fleet.inventory import Device
from edgectl_host.transport.base import DeviceClient
from edgectl_host.trust.audit import SeenLogs, verify
from edgectl_host.trust.authority import Authority
from edgectl_host.trust.upkeep import Kept, keep_up, state_of
from edgectl_host.workflows.ask import Answer, ask_all
from edgectl_host.workflows.connections import Connect
from edgectl_protos.domain.trust import AuditEntry, DeviceTrust

__all__ = ["Log", "bring_up_to_date", "read_logs"]


@dataclass(frozen=True, slots=True)
class Log:
    """The audit log of a device, whole."""

    trust: DeviceTrust
    entries: tuple[AuditEntry, ...]


async def bring_up_to_date(
    devices: Sequence[Device], connect: Connect, authority: Authority, *, renew_now: bool = False
) -> tuple[Answer[Kept], ...]:
    """Give each device newer revocations, and a certificate where its time has come."""
    identities = {device.name: device.identity for device in devices}

    async def question(client: DeviceClient) -> Kept:
        identity = identities[client.device]
        return await keep_up(client.trust, authority, identity=identity, now_s=time.time(), renew_now=renew_now)

    return await ask_all(devices, connect, question)


async def read_logs(devices: Sequence[Device], connect: Connect, seen: SeenLogs) -> tuple[Answer[Log], ...]:
    """The audit log of each device, checked against itself and against what this host has seen of it before."""
    identities = {device.name: device.identity for device in devices}

    async def question(client: DeviceClient) -> Log:
        identity = identities[client.device]
        # Which log it is must not be the device's to say: the one of another name has nothing to be missed.
        state = await state_of(client.trust, identity) if identity else await client.trust.state()
        before = seen.of(state.identity)
        entries, newest = verify([line async for line in client.trust.audit(0)], before)
        if state.identity:
            seen.keep(state.identity, newest)
        return Log(state, entries)

    return await ask_all(devices, connect, question)
