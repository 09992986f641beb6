"""What is installed on every device of a selection, and what each device is. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgectl_host.fleet.inventory import Device
from edgectl_host.transport.base import DeviceClient, Installed
from edgectl_host.workflows.ask import Answer, ask_all
from edgectl_host.workflows.connections import Connect
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.deployment import Deployment
from edgectl_protos.domain.device import DeviceFacts, HelloReply

__all__ = ["DeviceStatus", "status_all"]


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """One device as it stands."""

    hello: HelloReply
    facts: DeviceFacts
    installed: Installed

    def deployment_of(self, release: Digest | None) -> Deployment | None:
        """The newest deployment that brought this release."""
        return next((item for item in self.installed.deployments if item.release == release), None)

    @property
    def last(self) -> Deployment | None:
        """The newest deployment, whatever became of it."""
        return next(iter(self.installed.deployments), None)


async def status_all(devices: Sequence[Device], *, connect: Connect) -> tuple[Answer[DeviceStatus], ...]:
    """The status of each device."""

    async def question(client: DeviceClient) -> DeviceStatus:
        return DeviceStatus(await client.hello(), await client.facts(refresh=True), await client.installed())

    return await ask_all(devices, connect, question)
