"""Trust across a fleet: devices are brought up to date, and their audit logs are read and checked. All at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from edgectl_host.fleet.inventory import Device
from edgectl_host.trust.audit import SeenLogs, verify
from edgectl_host.trust.authority import Authority
from edgectl_host.trust.upkeep import Kept, TrustCalls, keep_up
from edgectl_host.workflows.ask import Answer, failure_of
from edgectl_protos.domain.errors import EdgectlError
from edgectl_protos.domain.trust import AuditEntry, DeviceTrust

__all__ = ["AuditedCalls", "Log", "OpenTrust", "bring_up_to_date", "read_logs"]

T = TypeVar("T")
_AT_ONCE = 64


class AuditedCalls(TrustCalls, Protocol):
    """A device whose audit log can be read too."""

    def audit(self, from_number: int) -> AsyncIterator[bytes]:
        """Lines of its audit log."""


OpenTrust = Callable[[Device], AbstractAsyncContextManager[AuditedCalls]]


@dataclass(frozen=True, slots=True)
class Log:
    """The audit log of a device, whole."""

    trust: DeviceTrust
    entries: tuple[AuditEntry, ...]


async def bring_up_to_date(
    devices: Sequence[Device], open_trust: OpenTrust, authority: Authority, *, renew_now: bool = False
) -> tuple[Answer[Kept], ...]:
    """Give each device newer revocations, and a certificate where its time has come."""

    async def ask(device: AuditedCalls) -> Kept:
        return await keep_up(device, authority, now_s=time.time(), renew_now=renew_now)

    return await _ask_all(devices, open_trust, ask)


async def read_logs(devices: Sequence[Device], open_trust: OpenTrust, seen: SeenLogs) -> tuple[Answer[Log], ...]:
    """The audit log of each device, checked against itself and against what this host has seen of it before."""

    async def ask(device: AuditedCalls) -> Log:
        state = await device.trust()
        before = seen.of(state.identity)
        entries, newest = verify([line async for line in device.audit(0)], before)
        if state.identity:
            seen.keep(state.identity, newest)
        return Log(state, entries)

    return await _ask_all(devices, open_trust, ask)


async def _ask_all(
    devices: Sequence[Device], open_trust: OpenTrust, ask: Callable[[AuditedCalls], Awaitable[T]]
) -> tuple[Answer[T], ...]:
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(device: Device) -> Answer[T]:
        try:
            async with free, open_trust(device) as calls:
                return Answer(device, await ask(calls))
        except EdgectlError as exc:
            return Answer(device, failure=failure_of(exc))

    return tuple(await asyncio.gather(*map(one, devices)))
