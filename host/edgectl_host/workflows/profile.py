"""Measures the installed loop: on one device, or on several, those of one machine one after another."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edgectl_host.fleet.inventory import Device
from edgectl_host.runs.record import RunRecord
from edgectl_host.transport.base import DeviceClient
from edgectl_host.workflows.ask import Answer, ask_all, failure_of
from edgectl_host.workflows.connections import Connect, Connections, together
from edgectl_host.workflows.progress import Progress, Update
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.errors import EdgectlError, LoopError, ProtocolError, RunsError
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.run import RunPhase, RunSummary

__all__ = ["fetch_samples", "measure", "measure_all", "stamped"]

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
    release: Digest | None = None,
    manifest_of: Callable[[Digest], Manifest | None],
    progress: Progress,
) -> RunRecord:
    """Run the loop of the installed release once, or that of a kept one.

    Raises:
        EdgectlError: the device's own failure, or LoopError when it ended without a summary.
        ProtocolError: the agent runs only what is installed.
    """
    run_id = uuid.uuid4().hex[:12]
    summary = None
    async for event in client.run(run_id, overrides, release):
        quiet = event.phase is RunPhase.MEASURING
        progress(Update(device.name, _WORDS[event.phase], event.progress or None, quiet=quiet))
        summary = event.summary or summary
    if summary is None:
        raise LoopError(f"{device.name}: the run ended without a summary", hint="see the agent's log")
    if release is not None and summary.release != release:
        raise ProtocolError(
            f"{device.name}: the agent ran {summary.release.short} instead of {release.short}: it is older than this "
            "edgectl",
            hint="install the same version on host and device: edgectl doctor",
        )
    summary = stamped(summary, device)
    deployment = await client.get(summary.deployment_id)
    return RunRecord.of(device.name, summary, deployment, manifest_of(summary.release))


def stamped(summary: RunSummary, device: Device) -> RunSummary:
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
            async for data in client.fetch_samples(record.summary.run_id):
                file.write(data)
        partial.replace(path)
    except EdgectlError:
        partial.unlink(missing_ok=True)
        raise
    except OSError as exc:
        raise RunsError(f"samples cannot be written to {path}: {exc}") from exc
    return replace(record, samples_path=str(path))


async def measure_all(
    devices: Sequence[Device],
    overrides: LoopOverrides,
    *,
    connect: Connect,
    manifest_of: Callable[[Digest], Manifest | None],
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
                    record = await measure(client, device, overrides, manifest_of=manifest_of, progress=progress)
                    answers[device.name] = Answer(device, await keep(client, record))
                progress(Update(device.name, record.outcome, done=True))
            except EdgectlError as exc:
                progress(Update(device.name, f"failed: {exc.message}", done=True))
                answers[device.name] = Answer(device, failure=failure_of(exc))

    await together(take_turns(members) for members in machines.values())
    return tuple(answers[device.name] for device in devices)


async def _machine_id(client: DeviceClient) -> str:
    return (await client.facts()).machine_id
