"""What a deploy would do, as data: printed by `--dry-run`, carried out by `rollout.py`.

Every device is asked once, all at the same time, for its facts and what is installed; one that does not
answer is in the plan with its failure. Nothing on any device changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edgectl_converters.assignment import Assignment
from edgectl_converters.floors import ComponentFloor
from edgectl_converters.plan import ConversionPlan
from edgectl_host.fleet.inventory import Device
from edgectl_host.transport.base import DeviceClient
from edgectl_host.workflows.ask import ask_all, failure_of
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.connections import Connect
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.device import DeviceFacts
from edgectl_protos.domain.errors import EdgectlError

__all__ = ["Choosing", "DeployPlan", "DevicePlan", "Way", "make_plan", "with_conversions"]


@dataclass(frozen=True, slots=True)
class Way:
    """What a device is to get, and as which board. `notes` say why, and why nothing else; `floors` what each component
    takes at least there, empty before the first export.
    """

    board: str
    assignment: Assignment
    notes: tuple[str, ...] = ()
    floors: tuple[ComponentFloor, ...] = ()


Choosing = Callable[[Device, DeviceFacts | None], Way]
"""Chooses what a device gets, from its facts, or from its board profile alone when it does not answer."""


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One row. `failure`: why nothing will be done here; `send_bytes` None: not known before conversion."""

    device: Device
    way: Way | None = None
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
    """Rows in the order of the fleet, and how each distinct release is made."""

    subject: str
    rows: tuple[DevicePlan, ...]
    conversions: tuple[ConversionPlan, ...] = ()

    @property
    def assignments(self) -> tuple[Assignment, ...]:
        """The distinct releases that reachable devices need, each once."""
        return tuple(dict.fromkeys(row.way.assignment for row in self.rows if row.way and not row.failure))


async def make_plan(subject: str, devices: Sequence[Device], *, connect: Connect, choosing: Choosing) -> DeployPlan:
    """Ask every device and choose what it gets."""
    return DeployPlan(subject, tuple(_chosen(row, choosing) for row in await _ask(devices, connect)))


def with_conversions(
    plan: DeployPlan,
    *,
    converted: Callable[[Assignment], Bundle | None],
    steps: Callable[[Assignment], ConversionPlan | None],
) -> DeployPlan:
    """The plan with what a dry run shows besides: what is sent, where that is known, and the steps of conversions.

    Raises:
        EdgectlError: a conversion that cannot be planned cannot be run either.
    """
    # Those that do not answer now are asked again by the next deploy: what they would get is shown as well.
    wanted = dict.fromkeys(row.way.assignment for row in plan.rows if row.way)
    found = {assignment: converted(assignment) for assignment in wanted}
    conversions = tuple(made for assignment in plan.assignments if (made := steps(assignment)) is not None)
    return replace(plan, rows=tuple(_what_is_sent(row, found) for row in plan.rows), conversions=conversions)


async def _ask(devices: Sequence[Device], connect: Connect) -> list[DevicePlan]:
    async def question(client: DeviceClient) -> tuple[DeviceFacts, Digest | None]:
        return await client.facts(refresh=True), (await client.installed()).current

    rows = []
    for answer in await ask_all(devices, connect, question):
        facts, current = answer.value or (None, None)
        rows.append(DevicePlan(answer.device, facts=facts, current=current, failure=answer.failure))
    return rows


def _chosen(row: DevicePlan, choosing: Choosing) -> DevicePlan:
    try:
        return replace(row, way=choosing(row.device, row.facts))
    except EdgectlError as exc:
        return row if row.failure else replace(row, failure=failure_of(exc))


def _what_is_sent(row: DevicePlan, found: dict[Assignment, Bundle | None]) -> DevicePlan:
    bundle = found.get(row.way.assignment) if row.way else None
    if bundle is None:
        return row
    # At most: which blobs a device holds is only answered to an offer, and an offer changes the device.
    send_bytes = 0 if row.current == bundle.digest else bundle.manifest.size_bytes
    return replace(row, release=bundle.digest, send_bytes=None if row.failure else send_bytes)
