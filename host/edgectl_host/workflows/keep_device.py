"""What becomes of a device that was added: it is listed, its agent is updated, it is taken away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edgectl_host.fleet.inventory import Device
from edgectl_host.fleet.registry import Registered, Registry
from edgectl_host.provision.steps import Steps
from edgectl_host.provision.wheels import WheelStore
from edgectl_host.transport.base import DeviceClient
from edgectl_host.transport.ssh import Ssh
from edgectl_host.workflows.add_device import Clock, Wishes, look_and_plan, put
from edgectl_host.workflows.ask import Answer, ask_all
from edgectl_host.workflows.connections import Connect
from edgectl_host.workflows.progress import Progress
from edgectl_protos.domain.device import DeviceFacts, HelloReply
from edgectl_protos.domain.errors import InstallError, UnreachableError

__all__ = ["Listed", "Updated", "forget_device", "list_devices", "remove_device", "update_device"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A device that answered."""

    hello: HelloReply
    facts: DeviceFacts


@dataclass(frozen=True, slots=True)
class Updated:
    """An update. `back` says why the device went back to the version that worked; empty when the new one answers."""

    name: str
    before: str
    after: str
    back: str = ""


async def list_devices(devices: Sequence[Device], *, connect: Connect) -> tuple[Answer[Listed], ...]:
    """What each device is, or why it does not answer."""

    async def question(client: DeviceClient) -> Listed:
        return Listed(await client.hello(), await client.facts())

    return await ask_all(devices, connect, question)


async def remove_device(
    ssh: Ssh, registered: Registered, *, registry: Registry, revoke: Callable[[str], None], progress: Progress
) -> None:
    """Take everything of ours from a device, and forget it. Its certificate is worth nothing afterwards.

    Raises:
        UnreachableError: no connection by ssh; the device stays registered.
        InstallError: something is left there.
    """
    clock = Clock(registered.name, progress)
    clock.step("remove", "ending the agent, removing its files")
    await Steps(ssh, registered.home).remove()
    forget_device(registered, registry=registry, revoke=revoke)


def forget_device(registered: Registered, *, registry: Registry, revoke: Callable[[str], None]) -> None:
    """Forget a device that is not to be had any more, and refuse its certificate from now on."""
    if registered.identity:
        revoke(registered.name)
    registry.remove(registered.name)


async def update_device(
    ssh: Ssh,
    registered: Registered,
    *,
    store: WheelStore,
    preferred: Callable[[str], Sequence[str]],
    timeout_s: float,
    progress: Progress,
) -> Updated:
    """Bring the agent of this host's version: beside the old one, switched by a link, and back when it does not answer.

    Raises:
        UnreachableError: no connection; what was begun on the device ends there by itself.
        InstallError: a step failed, or neither version answers.
    """
    clock = Clock(registered.name, progress)
    clock.step("look", "asking what it is")
    home = registered.home
    wishes = Wishes(
        name=registered.name,
        service=home.service != "none",
        python=registered.python,
        runtimes=registered.runtimes,
        extras=registered.extras,
        board=registered.board,
        port=registered.port,
    )
    survey, plan = await look_and_plan(replace(ssh, sudo=False), wishes, store, preferred, progress)
    # Where it is was decided when it was added, whatever would be chosen today.
    plan = replace(plan, home=home)
    before = survey.agents.get(home.prefix, "").rpartition("/")[2]
    if not before:
        raise InstallError(
            f"{registered.name} has no agent in {home.prefix} any more", hint=f"edgectl device add {home.destination}"
        )
    if before == plan.version:
        return Updated(registered.name, before, plan.version)
    steps = Steps(ssh, home)
    await put(steps, plan, store, clock.step, clock.say)
    await steps.activate(plan, switch=False)
    clock.step("switch", "the new agent begins")
    try:
        back = await steps.update(plan.version, timeout_s)
    except UnreachableError as exc:
        raise UnreachableError(
            f"{exc.message}; the device goes on by itself, to the new version or back", hint="edgectl device ls"
        ) from exc
    clock.end()
    return Updated(registered.name, before, plan.version, back)
