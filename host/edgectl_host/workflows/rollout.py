"""Carries out a plan on a fleet: one conversion per distinct release, a row and a verdict for each device.

Order: conversions, one after another (each takes all cores) → installs, up to 64 at once → measurements, one
device of a machine after another and only when nothing installs on that machine any more, since its
agents share the cores. A device that fails costs its own row and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from edgectl_converters.assignment import Assignment
from edgectl_host.runs.record import RunRecord, worst_exit_code
from edgectl_host.workflows.ask import exit_code_of_failures, failure_of
from edgectl_host.workflows.bundle import Bundle, Convert
from edgectl_host.workflows.connections import Connect, Connections, together
from edgectl_host.workflows.deploy import Install, install
from edgectl_host.workflows.patience import Patience
from edgectl_host.workflows.plan import DeployPlan, DevicePlan
from edgectl_host.workflows.profile import measure
from edgectl_host.workflows.progress import Progress, Update
from edgectl_host.workflows.rate_limit import RateLimit
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.errors import EdgectlError
from edgectl_protos.domain.loop import LoopOverrides

__all__ = ["Rollout", "Row", "exit_code_of"]


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one device. A failure beside a record: the figures are there, and were not kept."""

    plan: DevicePlan
    bundle: Bundle | None = None
    install: Install | None = None
    record: RunRecord | None = None
    failure: Failure | None = None


class Rollout:
    """One rollout. `measuring` None installs only; `remember` and `record` keep releases and runs."""

    def __init__(
        self,
        *,
        connect: Connect,
        convert: Convert,
        owner: str,
        measuring: LoopOverrides | None,
        remember: Callable[[Digest, Manifest], None],
        record: Callable[[RunRecord], None],
        patience: Patience,
        progress: Progress,
        limit: RateLimit | None = None,
    ) -> None:
        self._limit = limit
        self._connections = Connections(connect)
        self._convert = convert
        self._owner = owner
        self._measuring = measuring
        self._remember = remember
        self._record = record
        self._patience = patience
        self._progress = progress

    async def run(self, plan: DeployPlan) -> tuple[Row, ...]:
        """Convert, install and measure; rows in the order of the plan."""
        rows = await self._converted(plan)
        machines: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            if row.failure is None:
                machines.setdefault(_machine(row), []).append(index)
        await together(self._serve(members, rows) for members in machines.values())
        return tuple(rows)

    async def _converted(self, plan: DeployPlan) -> list[Row]:
        done: dict[Assignment, Bundle | Failure] = {}
        for assignment in plan.assignments:
            try:
                bundle = await self._convert(assignment, self._progress)
                self._remember(bundle.digest, bundle.manifest)
                done[assignment] = bundle
            except EdgectlError as exc:
                self._progress(Update(str(assignment), f"failed: {exc.message}", done=True))
                done[assignment] = failure_of(exc)
        rows = []
        for row in plan.rows:
            made = done.get(row.way.assignment) if row.way else None
            if row.failure is not None or made is None:
                rows.append(Row(row, failure=row.failure))
            elif isinstance(made, Failure):
                rows.append(Row(row, failure=made))
            else:
                rows.append(Row(row, bundle=made))
        return rows

    async def _serve(self, members: list[int], rows: list[Row]) -> None:
        """One machine: install on all of its agents, then measure them in the order of the plan."""
        installed = await together(self._install(rows[index]) for index in members)
        for index, row in zip(members, installed, strict=True):
            rows[index] = row
        for index in members:
            if self._measuring is not None and rows[index].failure is None:
                rows[index] = await self._measure(rows[index], self._measuring)

    async def _install(self, row: Row) -> Row:
        assert row.bundle is not None, "only rows with a bundle are installed"
        device = row.plan.device
        try:
            async with self._connections.to(device) as client:
                installed = await install(
                    client,
                    row.bundle,
                    owner=self._owner,
                    patience=self._patience,
                    progress=self._progress,
                    limit=self._limit,
                )
        except EdgectlError as exc:
            return self._failed(row, exc)
        text = "already installed" if installed.already else "installed"
        self._progress(Update(device.name, text, done=self._measuring is None))
        return replace(row, install=installed)

    async def _measure(self, row: Row, overrides: LoopOverrides) -> Row:
        assert row.bundle is not None, "only installed rows are measured"
        device, manifest = row.plan.device, row.bundle.manifest
        try:
            async with self._connections.to(device) as client:
                record = await measure(
                    client,
                    device,
                    overrides,
                    owner=self._owner,
                    manifest_of=lambda _: manifest,
                    patience=self._patience,
                    progress=self._progress,
                )
        except EdgectlError as exc:
            return self._failed(row, exc)
        self._progress(Update(device.name, record.outcome, done=True))
        try:
            self._record(record)
        except EdgectlError as exc:
            # The figures are shown all the same; that they are not kept is told beside them.
            return replace(row, record=record, failure=failure_of(exc))
        return replace(row, record=record)

    def _failed(self, row: Row, error: EdgectlError) -> Row:
        self._progress(Update(row.plan.device.name, f"failed: {error.message}", done=True))
        return replace(row, failure=failure_of(error))


def exit_code_of(rows: tuple[Row, ...]) -> int:
    """0 all passed · 1 a verdict failed · 3 one is inconclusive · else the code of devices that failed."""
    code = exit_code_of_failures([row.failure for row in rows])
    return code or worst_exit_code(row.record for row in rows if row.record is not None)


def _machine(row: Row) -> str:
    return row.plan.facts.machine_id if row.plan.facts else row.plan.device.name
