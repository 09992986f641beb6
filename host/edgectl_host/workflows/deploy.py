"""Installs one release on one device.

Order: create (or re-attach; the device says whether the release is there already, and whole) → send what is missing →
start → watch until it rests. Stopped while sending, it withdraws, so that the device is free; the device keeps what it
has, and the next deploy sends only the rest. The failure of a deployment is raised as the error it is.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from edgectl_host.transport.base import DeviceClient
from edgectl_host.workflows.ask import error_of
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.connections import see_through
from edgectl_host.workflows.patience import Heard, Patience
from edgectl_host.workflows.progress import Progress, Update
from edgectl_host.workflows.rate_limit import RateLimit
from edgectl_host.workflows.send import Sent, send
from edgectl_protos.domain.deployment import Deployment, DeploymentEvent, State
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


async def install(
    client: DeviceClient,
    bundle: Bundle,
    *,
    owner: str,
    patience: Patience,
    progress: Progress,
    limit: RateLimit | None = None,
) -> Install:
    """Bring a release onto a device and see it committed.

    Raises:
        EdgectlError: what the device refused, or why the deployment failed.
    """
    deployment_id = uuid.uuid4().hex

    async def create(heard: Heard) -> Deployment:
        return await client.create(bundle.manifest_bytes, owner=owner, deployment_id=deployment_id)

    deployment = await patience.keep_asking(client.device, create, progress)
    if deployment.state is State.COMMITTED:
        return Install(deployment, 0, already=True)
    sent = Sent()
    if deployment.state in (State.PLANNED, State.STAGING):
        try:
            await _send_and_start(client, deployment.id, bundle, sent, patience, progress, limit)
        except BaseException:
            # Whatever stopped us, the device need not wait out our lease.
            await see_through(client.cancel(deployment.id))
            raise
    final = await _follow(client, deployment.id, patience, progress)
    if final.state is not State.COMMITTED:
        raise await _failure_of_deployment(client, final)
    return Install(final, sent.bytes)


async def _send_and_start(
    client: DeviceClient,
    deployment_id: str,
    bundle: Bundle,
    sent: Sent,
    patience: Patience,
    progress: Progress,
    limit: RateLimit | None,
) -> None:
    async def attempt(heard: Heard) -> None:
        def moving(update: Update) -> None:
            heard()
            progress(update)

        # Each attempt asks again what is missing.
        await send(client, deployment_id, bundle, sent, moving, limit=limit)
        await client.start(deployment_id)

    await patience.keep_asking(client.device, attempt, progress)


async def _follow(client: DeviceClient, deployment_id: str, patience: Patience, progress: Progress) -> Deployment:
    """The deployment at rest."""
    seen = 0

    async def attempt(heard: Heard) -> Deployment:
        nonlocal seen
        async for event in client.watch(deployment_id, after_sequence=seen):
            heard()
            seen = event.sequence
            # The outbox tells its story from the beginning; the sending was shown as it happened.
            if event.state not in (State.PLANNED, State.STAGING):
                progress(Update(client.device, _describe(event)))
        return await client.get(deployment_id)

    return await patience.keep_asking(client.device, attempt, progress)


def _describe(event: DeploymentEvent) -> str:
    text = _WORDS.get(event.state, event.state.value)
    if event.detail and event.state is State.BUILDING:
        # It takes minutes: what its builder says instead of a silence.
        text = event.detail
    elif event.detail and event.state is State.PARITY:
        text = f"{event.detail}; {text}"
    return f"{text}: {event.failure.message}" if event.failure else text


async def _failure_of_deployment(client: DeviceClient, deployment: Deployment) -> EdgectlError:
    current = (await client.installed()).current
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
