"""What a deploy would do, as data: printed by `--dry-run`, carried out by `rollout.py`.

Every device is asked once, all at the same time, for its facts and what is installed; one that does not
answer is in the plan with its failure. Nothing on any device changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edgectl_host.fleet.inventory import Device
from edgectl_host.transport.base import DeviceClient
from edgectl_host.workflows.ask import ask_all, failure_of
from edgectl_host.workflows.crew import Connect
from edgectl_host.workflows.release import Release, Target
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.device import DeviceFacts
from edgectl_protos.domain.errors import EdgectlError

__all__ = ["DeployPlan", "DevicePlan", "Route", "Routing", "make_plan"]


@dataclass(frozen=True, slots=True)
class Route:
    """The way chosen for a device. `notes` say why, and why not another."""

    board: str
    target: Target
    notes: tuple[str, ...] = ()


Routing = Callable[[Device, DeviceFacts | None], Route]
"""Chooses the way to a device, from its facts, or from its board profile alone when it does not answer."""


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One row. `failure`: why nothing will be done here; `send_bytes` None: not known before conversion."""

    device: Device
    route: Route | None = None
    facts: DeviceFacts | None = None
    current: Digest | None = None
    failure: Failure | None = None
    release: Digest | None = None
    send_bytes: int | None = None

    @property
    def stand_in_for(self) -> str:
        """The board that this device merely stands in for."""
        told = self.device.board if self.device.stand_in else ""
        return (self.facts.stand_in_for if self.facts else "") or told


@dataclass(frozen=True, slots=True)
class DeployPlan:
    """Rows in the order of the fleet."""

    subject: str
    rows: tuple[DevicePlan, ...]

    @property
    def targets(self) -> tuple[Target, ...]:
        """The distinct conversions that reachable devices need, each once."""
        return tuple(dict.fromkeys(row.route.target for row in self.rows if row.route and not row.failure))


def make_plan(
    subject: str,
    devices: Sequence[Device],
    *,
    connect: Connect,
    routing: Routing,
    converted: Callable[[Target], Release | None],
) -> DeployPlan:
    """Ask every device and choose its way; `converted` finds a release that is in the cache already."""
    routed = [_route(row, routing) for row in _ask(devices, connect)]
    releases = {row.route.target: None for row in routed if row.route is not None}
    found = {target: converted(target) for target in releases}
    return DeployPlan(subject, tuple(_what_is_sent(row, found) for row in routed))


def _ask(devices: Sequence[Device], connect: Connect) -> list[DevicePlan]:
    def question(client: DeviceClient) -> tuple[DeviceFacts, Digest | None]:
        return client.facts(refresh=True), client.installed().current

    rows = []
    for answer in ask_all(devices, connect, question):
        facts, current = answer.value or (None, None)
        rows.append(DevicePlan(answer.device, facts=facts, current=current, failure=answer.failure))
    return rows


def _route(row: DevicePlan, routing: Routing) -> DevicePlan:
    try:
        return replace(row, route=routing(row.device, row.facts))
    except EdgectlError as exc:
        return row if row.failure else replace(row, failure=failure_of(exc))


def _what_is_sent(row: DevicePlan, found: dict[Target, Release | None]) -> DevicePlan:
    release = found.get(row.route.target) if row.route else None
    if release is None:
        return row
    # At most: which blobs a device holds is only answered to an offer, and an offer changes the device.
    send_bytes = 0 if row.current == release.digest else release.manifest.size_bytes
    return replace(row, release=release.digest, send_bytes=None if row.failure else send_bytes)
