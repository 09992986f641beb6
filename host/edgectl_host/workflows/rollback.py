"""Puts the previous release back, on every device of a selection."""

from __future__ import annotations

from collections.abc import Sequence

from edgectl_host.fleet.inventory import Device
from edgectl_host.transport.base import DeviceClient
from edgectl_host.workflows.ask import Answer, ask_all
from edgectl_host.workflows.connections import Connect
from edgectl_host.workflows.progress import Progress, Update
from edgectl_protos.domain.deployment import Deployment

__all__ = ["rollback_all"]


async def rollback_all(
    devices: Sequence[Device], *, connect: Connect, owner: str, progress: Progress
) -> tuple[Answer[Deployment], ...]:
    """The deployment that runs again on each device."""

    async def question(client: DeviceClient) -> Deployment:
        progress(Update(client.device, "putting the previous release back"))
        restored = await client.rollback(owner=owner)
        progress(Update(client.device, "rolled back", done=True))
        return restored

    return await ask_all(devices, connect, question)
