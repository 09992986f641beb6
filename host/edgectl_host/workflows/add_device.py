"""An agent on a device over ssh: look → plan → fetch → send → install → enrol → start → say hello → probe → register.

Each step is repeatable and says what it does; the second run of the same command skips what is done. A device is
registered as soon as something of ours is on it, so that `device rm` can always take it away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from edgectl_converters.targets.registry import TARGETS
from edgectl_host.fleet.registry import Registered, Registry, check_device_name
from edgectl_host.provision.plan import (
    SYSTEM,
    USER_PREFIX,
    Offer,
    Plan,
    Seat,
    addresses_of,
    choose_place,
    choose_python,
    offers,
    own_libraries,
    target_of,
)
from edgectl_host.provision.steps import Steps
from edgectl_host.provision.survey import Survey, parse_survey, survey_script
from edgectl_host.provision.wheels import INSTALLER, Wheel, WheelStore, extras_of_agent, requirements_of
from edgectl_host.transport.ssh import Ssh
from edgectl_host.workflows.connections import Connect
from edgectl_host.workflows.progress import Progress, Update
from edgectl_protos.domain.address import DEFAULT_PORT
from edgectl_protos.domain.device import DeviceFacts, HelloReply
from edgectl_protos.domain.errors import IdentityError, InstallError, UnreachableError, WheelMissingError

__all__ = ["Added", "Clock", "Wishes", "add_device", "look_and_plan", "put"]

_ALWAYS = ("trust", "worker")
"""The agent's extras with which it is enrolled, and with which its workers start; its daemon loads neither."""

_CLOCK_SKEW_S = 300

Enrol = Callable[[str, str], tuple[bytes, str]]
"""Request and name → the document that installs the certificate, and the device's identity."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asked for. `runtimes` empty: what the board prefers and can be had."""

    name: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    service: bool = True
    python: str = ""
    runtimes: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    board: str = ""
    address: str = ""
    port: int = DEFAULT_PORT


@dataclass(frozen=True, slots=True)
class Added:
    """The outcome: what the device is and can run. `hello` None: installed, and not reached over the network."""

    registered: Registered
    survey: Survey
    plan: Plan
    hello: HelloReply | None
    facts: DeviceFacts | None
    notes: tuple[str, ...]
    seconds: dict[str, float]


class Clock:
    """How long each step took, and the line that says what is done."""

    def __init__(self, subject: str, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._subject = subject
        self._progress = progress
        self._step = ""
        self._since = 0.0

    def step(self, name: str, text: str) -> None:
        """Another step begins, which ends the one before."""
        self.end()
        self._step, self._since = name, time.monotonic()
        self.say(text)

    def say(self, text: str, fraction: float | None = None) -> None:
        """What the step does now."""
        self._progress(Update(self._subject, text, fraction))

    def end(self) -> None:
        """No step goes on."""
        if self._step:
            self.seconds[self._step] = self.seconds.get(self._step, 0.0) + time.monotonic() - self._since
            self._step = ""


async def look_and_plan(
    ssh: Ssh, wishes: Wishes, store: WheelStore, preferred: Callable[[str], Sequence[str]], progress: Progress
) -> tuple[Survey, Plan]:
    """Ask the device what it is, and decide what goes there; wheels are fetched to this host, nothing is sent.

    `preferred` gives a board's runtimes in its order, best first.

    Raises:
        UnreachableError: no connection.
        InstallError: nothing can be installed there, with the command that mends it.
        UsageError: a wish that cannot be met.
    """
    extras = extras_of_agent()
    progress(Update(wishes.name or ssh.destination, "asking what it is"))
    asked = survey_script((SYSTEM.prefix, USER_PREFIX), own_libraries(extras, TARGETS), wishes.python)
    said = await ssh.run(asked, timeout_s=120)
    survey = parse_survey(said)
    python = choose_python(survey, wishes.python)
    target = target_of(survey, python)
    name = check_device_name(wishes.name or survey.host.lower().partition(".")[0])
    place = choose_place(survey, ssh.destination, ssh.options, service=wishes.service)
    board = wishes.board or survey.profile
    if unknown := sorted({*wishes.runtimes, *wishes.extras} - set(extras)):
        raise InstallError(
            f"the agent knows no runtime or extra {unknown[0]!r}; it knows: {', '.join(sorted(extras))}",
            hint="edgectl device add … --runtime NAME",
        )

    async def fetched(runtimes: Sequence[str]) -> tuple[Wheel, ...]:
        needs = requirements_of((*_ALWAYS, *wishes.extras, *runtimes), target)
        return await asyncio.to_thread(
            store.fetch, target, (INSTALLER, *needs), lambda text: progress(Update(name, text))
        )

    candidates = offers(wishes.runtimes or tuple(preferred(board)), extras, survey)
    chosen, refused, wheels = await _choose_runtimes(candidates, wishes.runtimes, fetched)
    seats = tuple(_seat(offer, survey) for offer in chosen if offer.own)
    seat_wheels = {}
    for seat in seats:
        over = replace(target, python=seat.python.minor)
        needs = requirements_of((*wishes.extras, seat.runtime), over)
        light = [need for need in needs if not need.startswith(("grpcio", "protobuf", "blake3"))]
        seat_wheels[seat.runtime] = await asyncio.to_thread(store.fetch, over, light)
    host_name = await ssh.host_name()
    plan = Plan(
        name=name,
        board=board,
        home=place.home,
        why=place.why,
        python=python,
        target=target,
        runtimes=tuple(offer.runtime for offer in chosen),
        seats=seats,
        extras=wishes.extras,
        own=await asyncio.to_thread(store.own),
        wheels=wheels,
        seat_wheels=seat_wheels,
        addresses=addresses_of(host_name, survey, wishes.port, wishes.address),
        port=wishes.port,
        refused=refused,
    )
    return survey, plan


async def _choose_runtimes(
    candidates: Sequence[Offer], asked: Sequence[str], fetched: Callable[[Sequence[str]], Awaitable[tuple[Wheel, ...]]]
) -> tuple[list[Offer], dict[str, str], tuple[Wheel, ...]]:
    """The runtimes that the device gets, why others are refused, and all wheels of the agent: what the device brings
    itself, and the first that has wheels; or everything that was asked for.
    """
    named = {offer.runtime for offer in candidates}
    refused = {
        runtime: f"its library comes with the device's system, and no Python there has {runtime}"
        for runtime in asked
        if runtime not in named
    }
    chosen: list[Offer] = []
    wheels = None
    for offer in candidates:
        if offer.own:
            chosen.append(offer)
            continue
        if wheels is not None and not asked:
            break
        try:
            wheels = await fetched([*(one.runtime for one in chosen if not one.own), offer.runtime])
        except WheelMissingError as exc:
            if asked:
                raise
            refused[offer.runtime] = exc.message
            continue
        chosen.append(offer)
    return chosen, refused, await fetched([]) if wheels is None else wheels


def _seat(offer: Offer, survey: Survey) -> Seat:
    return Seat(offer.runtime, next(python for python in survey.pythons if offer.runtime in python.modules))


async def add_device(
    ssh: Ssh,
    wishes: Wishes,
    *,
    store: WheelStore,
    registry: Registry,
    preferred: Callable[[str], Sequence[str]],
    enrol: Enrol,
    connect: Connect,
    progress: Progress,
) -> Added:
    """Bring an agent to a device, and see what it can run.

    Raises:
        UnreachableError: no connection by ssh.
        InstallError: a step failed; the message says which, the hint what to type where.
        UsageError: a wish that cannot be met.
        FleetError: another device is registered under this name.
    """
    clock = Clock(wishes.name or ssh.destination, progress)
    clock.step("look", "asking what it is")
    survey, plan = await look_and_plan(ssh, wishes, store, preferred, progress)
    known = registry.read().get(plan.name)
    if known is not None and known.home.destination != plan.home.destination:
        raise InstallError(
            f"{plan.name} is the name of {known.home.destination} already",
            hint=f"edgectl device add {ssh.destination} --name OTHER, or first: edgectl device rm {plan.name}",
        )
    registered = Registered(
        name=plan.name,
        addresses=plan.addresses,
        identity=known.identity if known else "",
        board=plan.board,
        home=plan.home,
        labels={**(known.labels if known else {}), **wishes.labels},
        runtimes=wishes.runtimes,
        extras=plan.extras,
        python=wishes.python,
        port=plan.port,
    )
    registry.put(registered)
    notes = [skew] if (skew := _skew(survey)) else []
    if known is not None and known.identity and survey.agents.get(plan.home.prefix) == f"versions/{plan.version}":
        clock.step("probe", "this very agent is there: asking it")
        try:
            hello, facts, _ = await _ask(registered, connect)
        except IdentityError:
            # Revoked, over, or of another fleet by now: it is enrolled again.
            hello = None
        if hello is not None:
            clock.end()
            return Added(registered, survey, plan, hello, facts, tuple(notes), clock.seconds)
    steps = Steps(replace(ssh, sudo=plan.home.sudo), plan.home)
    await put(steps, plan, store, clock.step, clock.say)
    clock.step("enrol", "enrolling it")
    await steps.activate(plan, switch=True)
    where = ["--state-dir", plan.home.state_dir]
    request = await steps.agent(["enrol", *where, "--name", plan.name, "--request"])
    document, identity = enrol(request, plan.name)
    await steps.agent(["enrol", *where, "--install"], document)
    registered = replace(registered, identity=identity)
    registry.put(registered)
    clock.step("start", "starting the agent")
    notes += await steps.start(plan.python.path)
    if plan.home.service == "none":
        notes.append(f'at boot: (crontab -l; echo "@reboot {plan.home.prefix}/start") | crontab -')
    clock.step("probe", "launching a kernel of each runtime")
    hello, facts, said = await _ask(registered, connect)
    if hello is None:
        notes.append(
            f"the agent runs there and does not answer at {', '.join(plan.addresses)}: {said}; "
            f"open port {plan.port}/tcp on {survey.host}, for instance: sudo ufw allow {plan.port}/tcp"
        )
    clock.end()
    return Added(registered, survey, plan, hello, facts, tuple(notes), clock.seconds)


async def _ask(registered: Registered, connect: Connect) -> tuple[HelloReply | None, DeviceFacts | None, str]:
    """What the agent answers over the network, or why it does not."""
    try:
        async with await connect(registered.device) as client:
            return await client.hello(), await client.facts(refresh=True), ""
    except UnreachableError as exc:
        return None, None, exc.message


async def put(
    steps: Steps,
    plan: Plan,
    store: WheelStore,
    step: Callable[[str, str], None],
    say: Callable[[str, float | None], None],
) -> None:
    """Wheels and environments of a plan, so that they are there; nothing is switched.

    Raises:
        UnreachableError: no connection.
        InstallError: a step failed.
    """
    step("send", "looking which wheels it has")
    missing = await steps.hold(plan.all_wheels)
    await steps.send(
        missing,
        store.path,
        lambda done, total: say(f"sending {len(missing)} wheels, {total / 1e6:.0f} MB", done / total),
    )
    step("install", "installing")
    await steps.install(plan, lambda text: say(text, None))


def _skew(survey: Survey) -> str:
    ahead = survey.clock_s - time.time()
    if abs(ahead) < _CLOCK_SKEW_S:
        return ""
    return f"its clock is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}: sudo timedatectl set-ntp true"
