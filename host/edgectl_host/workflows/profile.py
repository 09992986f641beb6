"""Measures the installed loop: on one device, or on several, those of one machine one after another."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from edgectl_host.fleet.inventory import Device
from edgectl_host.runs.record import RunRecord
from edgectl_host.runs.samples import MAX_BYTES
from edgectl_host.transport.base import DeviceClient
from edgectl_host.workflows.ask import Answer, ask_all, error_of, failure_of
from edgectl_host.workflows.connections import Connect, Connections, see_through, together
from edgectl_host.workflows.patience import Heard, Patience
from edgectl_host.workflows.progress import Progress, Update
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.errors import (
    EdgectlError,
    LoopError,
    NotFoundError,
    ProtocolError,
    RunsError,
    UnreachableError,
)
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.run import RunEvent, RunPhase, RunSummary

__all__ = ["fetch_samples", "follow_run", "measure", "measure_all", "record_of", "samples_of"]

_WORDS = {
    RunPhase.LOADING: "loading the policy",
    RunPhase.WARMING_UP: "warming up",
    RunPhase.MEASURING: "measuring",
    RunPhase.DONE: "measured",
    RunPhase.FAILED: "failed",
}


async def measure(
    client: DeviceClient,
    device: Device,
    overrides: LoopOverrides,
    *,
    owner: str,
    release: Digest | None = None,
    part_of: str = "",
    manifest_of: Callable[[Digest], Manifest | None],
    patience: Patience,
    progress: Progress,
) -> RunRecord:
    """Run the loop of the installed release once, or that of a kept one. Cancelled, it ends the run on the device.

    Raises:
        EdgectlError: the device's own failure, or LoopError when it ended without a summary.
        UnreachableError: it does not answer any more; the run goes on there.
        ProtocolError: the agent ran something else.
    """
    run_id = uuid.uuid4().hex[:12]

    async def create(heard: Heard) -> None:
        await client.create_run(run_id, overrides, release, owner=owner, part_of=part_of)

    try:
        await patience.keep_asking(client.device, create, progress)
        summary = await follow_run(client, run_id, patience=patience, progress=progress)
    except asyncio.CancelledError:
        await see_through(client.cancel_run(run_id))
        raise
    if release is not None and summary.release != release:
        raise ProtocolError(
            f"{device.name}: the agent ran {summary.release.short} instead of {release.short}",
            hint="install the same version on host and device: edgectl doctor",
        )
    return await record_of(client, device, summary, manifest_of=manifest_of)


async def follow_run(client: DeviceClient, run_id: str, *, patience: Patience, progress: Progress) -> RunSummary:
    """The summary of a run, waited for.

    Raises:
        EdgectlError: the failure of the run, or LoopError when it ended without a summary.
        UnreachableError: the device is silent for too long; the run goes on there.
        ProtocolError: the agent answered for another run.
    """
    last: RunEvent | None = None

    async def attempt(heard: Heard) -> None:
        nonlocal last
        async for event in client.watch_run(run_id, after_sequence=last.sequence if last else 0):
            heard()
            last = event
            quiet = event.phase is RunPhase.MEASURING
            text = _WORDS.get(event.phase, event.phase.value)
            progress(Update(client.device, text, event.progress or None, quiet=quiet))

    try:
        await patience.keep_asking(client.device, attempt, progress)
    except UnreachableError as exc:
        raise UnreachableError(
            f"{exc.message}; run {run_id} goes on there",
            hint=f"when it answers again, fetch the run: edgectl runs --fleet {client.device}",
        ) from exc
    if last is not None and last.failure is not None:
        raise error_of(last.failure)
    if last is None or last.summary is None:
        raise LoopError(f"{client.device}: run {run_id} ended without a summary", hint="see the agent's log")
    if last.summary.run_id != run_id:
        # The id of a run names a file here.
        raise ProtocolError(f"{client.device}: the agent answered for run {last.summary.run_id!r}, not for {run_id}")
    return last.summary


async def record_of(
    client: DeviceClient, device: Device, summary: RunSummary, *, manifest_of: Callable[[Digest], Manifest | None]
) -> RunRecord:
    """A run with what is known about it: its deployment as the device remembers it, its manifest as this host does."""
    try:
        deployment = await client.get(summary.deployment_id)
    except NotFoundError:
        deployment = None
    return RunRecord.of(device.name, _stamped(summary, device), deployment, manifest_of(summary.release))


def _stamped(summary: RunSummary, device: Device) -> RunSummary:
    """The summary, saying what it stands in for when the fleet file knows and the device itself does not."""
    facts = summary.facts
    if device.stand_in and not facts.stand_in_for:
        facts = replace(facts, stand_in_for=device.board)
    return replace(summary, facts=facts)


async def fetch_samples(client: DeviceClient, record: RunRecord, folder: Path) -> RunRecord:
    """Copy the spooled samples of a run here; the record then says where they are.

    Raises:
        RunsError: they cannot be written.
    """
    path = folder / f"{record.summary.run_id}.npz"
    partial = path.with_suffix(".partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            async for data in samples_of(client, record.summary.run_id):
                file.write(data)
        partial.replace(path)
    except OSError as exc:
        raise RunsError(f"samples cannot be written to {path}: {exc}") from exc
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return replace(record, samples_path=str(path))


async def samples_of(client: DeviceClient, run_id: str) -> AsyncIterator[bytes]:
    """The spooled samples of a run, piece by piece.

    Raises:
        ProtocolError: they do not end.
    """
    size_bytes = 0
    async for piece in client.fetch_samples(run_id):
        size_bytes += len(piece)
        if size_bytes > MAX_BYTES:
            raise ProtocolError(f"{client.device}: run {run_id} has more than {MAX_BYTES:,} bytes of samples")
        yield piece


async def measure_all(
    devices: Sequence[Device],
    overrides: LoopOverrides,
    *,
    connect: Connect,
    owner: str,
    manifest_of: Callable[[Digest], Manifest | None],
    patience: Patience,
    keep: Callable[[DeviceClient, RunRecord], Awaitable[RunRecord]],
    progress: Progress,
) -> tuple[Answer[RunRecord], ...]:
    """A run on each device; devices of one machine take turns, since they share its cores.

    `keep` records a finished run while the connection is still open.
    """
    asked = await ask_all(devices, connect, _machine_id)
    answers: dict[str, Answer[RunRecord]] = {
        answer.device.name: Answer(answer.device, failure=answer.failure) for answer in asked
    }
    machines: dict[str, list[Device]] = {}
    for answer in asked:
        if answer.value is not None:
            machines.setdefault(answer.value, []).append(answer.device)
    connections = Connections(connect)

    async def take_turns(members: list[Device]) -> None:
        for device in members:
            try:
                async with connections.to(device) as client:
                    record = await measure(
                        client,
                        device,
                        overrides,
                        owner=owner,
                        manifest_of=manifest_of,
                        patience=patience,
                        progress=progress,
                    )
                    answers[device.name] = Answer(device, await keep(client, record))
                progress(Update(device.name, record.outcome, done=True))
            except EdgectlError as exc:
                progress(Update(device.name, f"failed: {exc.message}", done=True))
                answers[device.name] = Answer(device, failure=failure_of(exc))

    await together(take_turns(members) for members in machines.values())
    return tuple(answers[device.name] for device in devices)


async def _machine_id(client: DeviceClient) -> str:
    return (await client.facts()).machine_id
