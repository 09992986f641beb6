"""Trust across a fleet: devices are brought up to date, and their audit logs are read and checked. All at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from edgectl_host.fleet.inventory import Device
from edgectl_host.transport.base import DeviceClient
from edgectl_host.trust.audit import SeenLogs, verify
from edgectl_host.trust.authority import Authority
from edgectl_host.trust.upkeep import Kept, keep_up
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

    async def question(client: DeviceClient) -> Kept:
        return await keep_up(client.trust, authority, now_s=time.time(), renew_now=renew_now)

    return await ask_all(devices, connect, question)


async def read_logs(devices: Sequence[Device], connect: Connect, seen: SeenLogs) -> tuple[Answer[Log], ...]:
    """The audit log of each device, checked against itself and against what this host has seen of it before."""

    async def question(client: DeviceClient) -> Log:
        state = await client.trust.state()
        before = seen.of(state.identity)
        entries, newest = verify([line async for line in client.trust.audit(0)], before)
        if state.identity:
            seen.keep(state.identity, newest)
        return Log(state, entries)

    return await ask_all(devices, connect, question)
