"""`edgectl device`: agents on devices, brought and kept there over ssh."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgectl_host.cli.loop import run_workflow
from edgectl_host.cli.options import DURATION, json_option
from edgectl_host.cli.passphrase import passphrase_option, reader
from edgectl_host.cli.wiring import Wiring
from edgectl_protos.domain.address import DEFAULT_PORT
from edgectl_protos.domain.errors import UnreachableError

if TYPE_CHECKING:
    from edgectl_host.transport.ssh import Ssh

T = TypeVar("T")

_wheelhouse_option = click.option(
    "--wheelhouse",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Wheels from this folder, which `make dist` writes, instead of the package index.",
)
_ssh_option = click.option(
    "--ssh-option",
    "ssh_options",
    multiple=True,
    metavar="TEXT",
    help="A word passed on to ssh, such as -p2222 or -F/path/to/config; may be repeated.",
)


@click.group("device")
def command() -> None:
    """Devices with an agent of their own: add, list, update and remove them over your own ssh; invite others."""


@command.command("add", short_help="Bring an agent to a device over ssh.")
@click.argument("destination", metavar="USER@HOST")
@click.option("--name", default="", metavar="NAME", help="What it is called here. Default: its own host name.")
@click.option("--label", "labels", multiple=True, metavar="GROUP|KEY=VALUE", help="May be repeated: --fleet GROUP.")
@click.option("--runtime", "runtimes", multiple=True, metavar="NAME", help="Default: what its board prefers; again.")
@click.option(
    "--extra",
    "extras",
    multiple=True,
    default=("language", "video"),
    show_default=True,
    metavar="NAME",
    help="What policies need besides; none: nothing.",
)
@click.option("--no-service", is_flag=True, help="Start the agent now, and not at boot.")
@click.option("--python", default="", metavar="PATH", help="The interpreter of the agent there.")
@click.option("--board", default="", metavar="NAME", help="Its board. Default: recognised.")
@click.option("--address", default="", metavar="HOST", help="Where to dial the agent. Default: as ssh finds it.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True, help="The agent's port."
)
@click.option("--dry-run", is_flag=True, help="Show what would be put where; nothing is sent.")
@_wheelhouse_option
@_ssh_option
@passphrase_option
@json_option
@click.pass_obj
def add(
    wiring: Wiring,
    destination: str,
    name: str,
    labels: tuple[str, ...],
    runtimes: tuple[str, ...],
    extras: tuple[str, ...],
    no_service: bool,
    python: str,
    board: str,
    address: str,
    port: int,
    dry_run: bool,
    wheelhouse: Path | None,
    ssh_options: tuple[str, ...],
    passphrase_fd: int | None,
    json_mode: bool,
) -> None:
    """Bring an agent to a device: look what it is, install, start, enrol, and try what it can run.

    It needs ssh, a Python of at least 3.10 and no network there. Run again, it does what is not done yet.
    """
    from edgectl_host.cli.render.device import human_added, human_plan, json_added, json_plan
    from edgectl_host.fleet.registry import parse_labels
    from edgectl_host.workflows.add_device import Wishes, add_device, look_and_plan

    wishes = Wishes(
        name=name,
        labels=parse_labels(labels),
        service=not no_service,
        python=python,
        runtimes=runtimes,
        extras=() if "none" in extras else extras,
        board=board,
        address=address,
        port=port,
    )
    console = wiring.console(json_mode=json_mode)
    ssh = wiring.ssh(destination, ssh_options)
    store = wiring.wheels(wheelhouse)
    if dry_run:
        with console.progress() as progress:
            looked = look_and_plan(ssh, wishes, store, wiring.preferred_runtimes, progress)
            survey, plan = run_workflow(_closing(ssh, looked))
        console.show(human_plan(survey, plan))
        console.show_json(json_plan(survey, plan))
        return
    # Who is asked for a passphrase is asked before a bar is drawn over the question.
    enrol = wiring.enrolling(reader(passphrase_fd))
    with console.progress() as progress:
        adding = add_device(
            ssh,
            wishes,
            store=store,
            registry=wiring.registry(),
            preferred=wiring.preferred_runtimes,
            enrol=enrol,
            connect=wiring.connect,
            progress=progress,
        )
        added = run_workflow(_closing(ssh, adding))
    console.show(human_added(added))
    console.show_json(json_added(added))
    click.get_current_context().exit(0 if added.hello else UnreachableError.exit_code)


@command.command("ls", short_help="Which devices there are, and whether each answers.")
@click.option("--fleet", default="all", show_default=True, metavar="NAME", help="A group, a device, or all.")
@json_option
@click.pass_obj
def ls(wiring: Wiring, fleet: str, json_mode: bool) -> None:
    """Which devices there are: board, system, runtimes, and whether each answers."""
    from edgectl_host.cli.render.device import human_devices, json_devices
    from edgectl_host.workflows.keep_device import list_devices

    console = wiring.console(json_mode=json_mode)
    devices = wiring.remote_devices(fleet)
    with console.busy(fleet, "asking the devices"):
        answers = run_workflow(list_devices(devices, connect=wiring.connect))
    console.show(human_devices(answers))
    console.show_json(json_devices(answers))


@command.command("rm", short_help="Take the agent and everything it has from a device.")
@click.argument("name")
@click.option("--forget", is_flag=True, help="Forget it here, though it is not to be reached any more.")
@_ssh_option
@passphrase_option
@json_option
@click.pass_obj
def rm(
    wiring: Wiring,
    name: str,
    forget: bool,
    ssh_options: tuple[str, ...],
    passphrase_fd: int | None,
    json_mode: bool,
) -> None:
    """Take the agent and everything it has from a device: service, releases, runs, its certificate."""
    from rich.text import Text

    from edgectl_host.workflows.keep_device import forget_device, remove_device

    console = wiring.console(json_mode=json_mode)
    registry = wiring.registry()
    registered = registry.get(name)

    authority = wiring.authority_if_any(reader(passphrase_fd))
    if authority is not None and registered.identity:
        authority.ask_if_encrypted()

    def revoke(name: str) -> None:
        if authority is not None:
            authority.revoke_device(name)
        else:
            click.echo(f"{name}: its certificate is not revoked: this host has no authority", err=True)

    if forget:
        forget_device(registered, registry=registry, revoke=revoke)
    else:
        ssh = wiring.ssh_to(registered, ssh_options)
        with console.progress() as progress:
            run_workflow(
                _closing(ssh, remove_device(ssh, registered, registry=registry, revoke=revoke, progress=progress))
            )
    left = f", which keeps what is on {registered.home.destination}" if forget else ": nothing of it is left there"
    console.show(Text(f"{name} removed{left}"))
    console.show_json({"name": name, "removed": not forget, "forgotten": True})


@command.command("update")
@click.argument("name")
@click.option("--timeout", "timeout_s", type=click.FloatRange(1, 600), default=30.0, metavar="SECONDS", hidden=True)
@_wheelhouse_option
@_ssh_option
@json_option
@click.pass_obj
def update(
    wiring: Wiring,
    name: str,
    timeout_s: float,
    wheelhouse: Path | None,
    ssh_options: tuple[str, ...],
    json_mode: bool,
) -> None:
    """Bring the agent of this edgectl to a device. One that does not answer is replaced by the one before."""
    from edgectl_host.cli.render.device import human_updated
    from edgectl_host.workflows.keep_device import update_device
    from edgectl_protos.codec.document import to_document

    console = wiring.console(json_mode=json_mode)
    registry = wiring.registry()
    registered = registry.get(name)
    ssh = wiring.ssh_to(registered, ssh_options)
    with console.progress() as progress:
        updated = run_workflow(
            _closing(
                ssh,
                update_device(
                    ssh,
                    registered,
                    store=wiring.wheels(wheelhouse),
                    preferred=wiring.preferred_runtimes,
                    timeout_s=timeout_s,
                    progress=progress,
                ),
            )
        )
    console.show(human_updated(updated))
    console.show_json(to_document(updated))
    click.get_current_context().exit(1 if updated.back else 0)


@command.command("invite", short_help="Print a code for a device that ssh does not reach.")
@click.argument("name")
@click.option(
    "--host", metavar="HOST", help="How the device reaches this machine. Default: its address on the network."
)
@click.option("--port", type=click.IntRange(0, 65535), default=7444, show_default=True, help="Where to wait; 0: any.")
@click.option(
    "--valid", "valid_s", type=DURATION, metavar="15min", default="15min", show_default=True, help="How long."
)
@passphrase_option
@json_option
@click.pass_obj
def invite(
    wiring: Wiring,
    name: str,
    host: str | None,
    port: int,
    valid_s: float,
    passphrase_fd: int | None,
    json_mode: bool,
) -> None:
    """Print a code, and wait for the one device on which it is typed: edgectl-agent enrol CODE.

    For devices that ssh does not reach. The code is good for this name, once, and until the command ends.
    """
    from edgectl_host.cli.render.trust import human_enrolled, json_enrolled
    from edgectl_host.quantities import long_words
    from edgectl_host.trust.authority import Authority
    from edgectl_host.trust.invitation import Invitations, own_address
    from edgectl_protos.domain.invitation import Invitation

    def say(text: str) -> None:
        click.echo(text, err=True)

    def show(invitation: Invitation) -> None:
        say("on the device, as the agent's user and with its own --state-dir:\n")
        say(f"  edgectl-agent enrol {invitation.code} --state-dir /var/lib/edgectl\n")
        say(f"waiting at {invitation.address} for {long_words(valid_s)}; authority {invitation.fingerprint[:16]}…")

    authority = Authority.ensure(wiring.trust_dir, owner=wiring.config.owner, passphrase=reader(passphrase_fd))
    invitations = Invitations(wiring.trust_folder(), authority, say)
    enrolled = run_workflow(invitations.invite(name, host=host or own_address(), port=port, valid_s=valid_s, show=show))
    console = wiring.console(json_mode=json_mode)
    console.show(human_enrolled(enrolled))
    console.show_json(json_enrolled(enrolled))


async def _closing(ssh: Ssh, work: Coroutine[Any, Any, T]) -> T:
    """The work, and the end of its shared connection."""
    try:
        return await work
    finally:
        await ssh.close()
