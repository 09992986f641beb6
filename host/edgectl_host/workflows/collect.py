"""Fetches runs that finished while nobody on this host waited for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from edgectl_host.fleet.inventory import Device
from edgectl_host.runs.record import RunRecord
from edgectl_host.transport.base import DeviceClient
from edgectl_host.workflows.ask import Answer, ask_all, failure_of
from edgectl_host.workflows.connections import Connect
from edgectl_host.workflows.patience import Patience
from edgectl_host.workflows.profile import follow_run, record_of
from edgectl_host.workflows.progress import Progress, Update, silent
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.errors import EdgectlError, UnreachableError
from edgectl_protos.domain.run import Run, RunPhase

__all__ = ["Collected", "collect_all"]


@dataclass(frozen=True, slots=True)
class Collected:
    """What one device holds: runs that this host lacked and has now, and those that did not end with figures, have not
    ended, or cannot be read. Parts of comparisons are in neither.
    """

    records: tuple[RunRecord, ...]
    others: tuple[Run, ...]


async def collect_all(
    devices: Sequence[Device],
    *,
    connect: Connect,
    knows: Callable[[str], bool],
    manifest_of: Callable[[Digest], Manifest | None],
    keep: Callable[[DeviceClient, RunRecord], Awaitable[RunRecord]],
    progress: Progress,
) -> tuple[Answer[Collected], ...]:
    """Fetch every finished run that this host does not know; `keep` records one while the connection is open."""
    by_name = {device.name: device for device in devices}

    async def question(client: DeviceClient) -> Collected:
        found, others = [], []
        for run in await client.runs():
            if run.part_of:
                continue
            if run.phase is not RunPhase.DONE:
                others.append(run)
            elif not knows(run.run_id):
                progress(Update(client.device, f"fetching run {run.run_id}"))
                try:
                    summary = await follow_run(client, run.run_id, patience=Patience(0.0), progress=silent)
                    record = await record_of(client, by_name[client.device], summary, manifest_of=manifest_of)
                except UnreachableError:
                    raise
                except EdgectlError as exc:
                    # One that cannot be read is told, and keeps nobody from the others.
                    others.append(replace(run, failure=failure_of(exc)))
                    continue
                found.append(await keep(client, record))
        return Collected(tuple(found), tuple(others))

    return await ask_all(devices, connect, question)
