"""Installs one release on one device.

Order: is it installed already? → create (or re-attach) → for each blob: offer, send what is missing, commit →
start → watch until it rests. Stopped while sending, it withdraws, so that the device is free; the device
keeps what it has, and the next deploy sends only the rest. `progress` may raise to stop it. The failure of a
deployment is raised as the error it is.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from edgectl_host.quantities import bytes_words
from edgectl_host.transport.base import DeviceClient
from edgectl_host.workflows.ask import error_of
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.progress import Progress, Update
from edgectl_protos.domain.deployment import TERMINAL, Deployment, DeploymentEvent, State
from edgectl_protos.domain.errors import DeviceError, EdgectlError

__all__ = ["Install", "install"]

_WORDS = {
    State.VERIFIED: "verified",
    State.BUILDING: "building",
    State.PARITY: "proving the numbers on the device",
    State.WAIT_WINDOW: "waiting for its window",
    State.ACTIVATING: "activating",
    State.PROBATION: "trying the loop",
    State.COMMITTED: "installed",
    State.FAILED: "failed",
    State.ROLLING_BACK: "rolling back",
    State.ROLLED_BACK: "rolled back",
    State.INCONSISTENT: "inconsistent",
}


@dataclass(frozen=True, slots=True)
class Install:
    """An installed release. `already`: it was there, and nothing was sent."""

    deployment: Deployment
    sent_bytes: int
    already: bool = False


def install(client: DeviceClient, bundle: Bundle, *, owner: str, progress: Progress) -> Install:
    """Bring a release onto a device and see it committed.

    Raises:
        EdgectlError: what the device refused, or why the deployment failed.
    """
    present = _installed(client, bundle)
    if present is not None:
        return Install(present, 0, already=True)
    deployment = client.create(bundle.manifest_bytes, owner=owner, deployment_id=uuid.uuid4().hex)
    if deployment.state is State.COMMITTED:
        return Install(deployment, 0, already=True)
    sent_bytes = 0
    if deployment.state in (State.PLANNED, State.STAGING):
        try:
            sent_bytes = _send(client, deployment.id, bundle, progress)
            client.start(deployment.id)
        except BaseException:
            # Whatever stopped us, the device need not wait out our lease.
            with suppress(EdgectlError):
                client.cancel(deployment.id)
            raise
    _follow(client, deployment, progress)
    final = client.get(deployment.id)
    if final.state is not State.COMMITTED:
        raise _failure_of_deployment(client, final)
    return Install(final, sent_bytes)


def _installed(client: DeviceClient, bundle: Bundle) -> Deployment | None:
    if any(component.recipe is not None for component in bundle.manifest.components):
        # Whether it is built for the device as it is now, after an update of its software, only the device knows.
        return None
    installed = client.installed()
    if installed.current != bundle.digest:
        return None
    if any(deployment.state not in TERMINAL for deployment in installed.deployments):
        return None
    for deployment in installed.deployments:
        if deployment.release == bundle.digest and deployment.state is State.COMMITTED:
            return deployment
    return None


def _send(client: DeviceClient, deployment_id: str, bundle: Bundle, progress: Progress) -> int:
    """Send what the device lacks of every blob; how many bytes that was."""
    total = bundle.manifest.size_bytes
    done = sent = 0
    for entry in bundle.blobs:
        chunks = bundle.chunks(entry)
        offered = client.offer(deployment_id, entry.digest, entry.size_bytes, chunks)
        if not offered.complete:
            missing = sum(chunks[index].size_bytes for index in offered.missing)
            if offered.missing:
                pieces = bundle.pieces(entry, chunks, offered.missing)
                report = _reporter(client.device, done + entry.size_bytes - missing, total, progress)
                client.upload(deployment_id, entry.digest, report(pieces))
            client.commit(deployment_id, entry.digest)
            sent += missing
        done += entry.size_bytes
    return sent


_Pieces = Iterator[tuple[int, bytes]]


def _reporter(device: str, done: int, total: int, progress: Progress) -> Callable[[_Pieces], _Pieces]:
    """Counts the bytes that pass through; `done` of `total` are on the device already."""

    def report(pieces: _Pieces) -> _Pieces:
        position = done
        for index, data in pieces:
            yield index, data
            position += len(data)
            progress(Update(device, f"sending {bytes_words(total)}", position / total))

    return report


def _follow(client: DeviceClient, deployment: Deployment, progress: Progress) -> None:
    for event in client.watch(deployment.id):
        # The outbox tells its story from the beginning; the sending was shown as it happened.
        if event.state not in (State.PLANNED, State.STAGING):
            progress(Update(client.device, _describe(event)))


def _describe(event: DeploymentEvent) -> str:
    text = _WORDS[event.state]
    if event.detail and event.state is State.BUILDING:
        # It takes minutes: what its builder says instead of a silence.
        text = event.detail
    elif event.detail and event.state is State.PARITY:
        text = f"{event.detail}; {text}"
    return f"{text}: {event.failure.message}" if event.failure else text


def _failure_of_deployment(client: DeviceClient, deployment: Deployment) -> EdgectlError:
    current = client.installed().current
    still = f"; release {current.short} still runs" if current else ""
    outcome = {
        State.FAILED: f"not activated{still}",
        State.ROLLED_BACK: f"rolled back{still}",
        State.INCONSISTENT: "the device could neither finish nor go back",
    }.get(deployment.state, f"the deployment is {deployment.state.value}")
    if deployment.failure is None:
        return DeviceError(f"{client.device}: {outcome}", hint="edgectl status")
    error = error_of(deployment.failure)
    return type(error)(f"{error.message} ({outcome})", hint=error.hint or "edgectl status")
