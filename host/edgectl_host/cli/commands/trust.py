"""`edgectl trust`: who may do what in the fleet."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import click

from edgectl_host.cli.loop import run_workflow
from edgectl_host.cli.options import AGE, everywhere_options, fleet_options, json_option
from edgectl_host.cli.passphrase import passphrase_option, reader
from edgectl_host.cli.wiring import Wiring
from edgectl_protos.domain.trust import Role, check_member_name


@click.group("trust", invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, json_mode: bool) -> None:
    """Who may do what in the fleet: devices and operators, until when, and what was revoked."""
    if context.invoked_subcommand is None:
        context.invoke(show, json_mode=json_mode)


@command.command("show", short_help="What was issued, to whom, until when.")
@json_option
@click.pass_obj
def show(wiring: Wiring, json_mode: bool) -> None:
    """Who holds a certificate, in which role, until when, and what is worth nothing any more.

    One row a member, however often its certificate was renewed; --json has every certificate.
    """
    from edgectl_host.cli.render.trust import human_trust, json_trust

    console = wiring.console(json_mode=json_mode)
    authority = wiring.authority_if_any()
    console.show(human_trust(wiring.trust_folder(), authority))
    console.show_json(json_trust(wiring.trust_folder(), authority))


@command.command("issue", short_help="Write what another operator needs into one file.")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    required=True,
    help="Each may do what those before it may.",
)
@click.option("--valid", "valid_s", type=AGE, metavar="90d", default="90d", show_default=True, help="Until when.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Default: NAME.edgectl-key.json.")
@passphrase_option
@json_option
@click.pass_obj
def issue(
    wiring: Wiring,
    name: str,
    role: str,
    valid_s: float,
    output: Path | None,
    passphrase_fd: int | None,
    json_mode: bool,
) -> None:
    """Write what another operator needs into one file, to be taken over by `edgectl trust join FILE`.

    It holds a private key: hand it over as you would a password.
    """
    from edgectl_host.cli.render.trust import human_grant, json_grant
    from edgectl_host.trust.grants import write_grant

    authority = wiring.authority(reader(passphrase_fd))
    path = output or Path(f"{check_member_name(name)}.edgectl-key.json")
    grant = write_grant(path, lambda: authority.issue_client(name, Role(role), life_s=int(valid_s)))
    console = wiring.console(json_mode=json_mode)
    console.show(human_grant(grant, path))
    console.show_json(json_grant(grant, path))


@command.command("join", short_help="Take over the file that an administrator gave you.")
@click.argument("file", type=click.File("rb"))
@json_option
@click.pass_obj
def join(wiring: Wiring, file: BinaryIO, json_mode: bool) -> None:
    """Take over what the fleet's administrator gave you: a file, or - for standard input."""
    from edgectl_host.cli.render.trust import human_own, json_own
    from edgectl_host.trust.grants import join_fleet

    join_fleet(wiring.trust_folder(), file)
    console = wiring.console(json_mode=json_mode)
    console.show(human_own(wiring.trust_folder(), None))
    console.show_json(json_own(wiring.trust_folder(), None))


@command.command("revoke", short_help="Make every certificate of a name worth nothing.")
@click.argument("name")
@everywhere_options
@passphrase_option
@json_option
@click.pass_obj
def revoke(
    wiring: Wiring,
    name: str,
    fleet: str,
    labels: tuple[str, ...],
    limit: int | None,
    fleet_file: Path | None,
    passphrase_fd: int | None,
    json_mode: bool,
) -> None:
    """Make every certificate of an operator or a device worth nothing, and tell the devices of a fleet at once.

    Devices that are out of reach are told when this host reaches them next; the exit code says that there are some.
    """
    from edgectl_host.cli.render.trust import human_revoked, json_revoked
    from edgectl_host.workflows.ask import exit_code_of_failures
    from edgectl_host.workflows.trust import bring_up_to_date

    authority = wiring.authority(reader(passphrase_fd))
    revoked = authority.revoke(name)
    devices = wiring.enrolled_devices(fleet=fleet, labels=labels, limit=limit, fleet_file=fleet_file)
    console = wiring.console(json_mode=json_mode)
    with console.busy(name, "telling the devices"):
        told = run_workflow(bring_up_to_date(devices, wiring.reach, authority))
    console.show(human_revoked(name, revoked, told))
    console.show_json(json_revoked(name, revoked, told))
    click.get_current_context().exit(exit_code_of_failures([answer.failure for answer in told]))


@command.command("renew", short_help="Renew this host's certificate, and those that are due.")
@everywhere_options
@click.option("--now", "renew_now", is_flag=True, help="Also certificates whose time has not come.")
@passphrase_option
@json_option
@click.pass_obj
def renew(
    wiring: Wiring,
    fleet: str,
    labels: tuple[str, ...],
    limit: int | None,
    fleet_file: Path | None,
    renew_now: bool,
    passphrase_fd: int | None,
    json_mode: bool,
) -> None:
    """Renew this host's certificate, and those of devices whose time has come.

    Every command does that by itself for the devices that it reaches, unless the authority's key has a passphrase.
    """
    from edgectl_host.cli.render.trust import human_renewed, json_told
    from edgectl_host.workflows.ask import exit_code_of_failures
    from edgectl_host.workflows.trust import bring_up_to_date

    authority = wiring.authority(reader(passphrase_fd))
    authority.renew_own()
    devices = wiring.enrolled_devices(fleet=fleet, labels=labels, limit=limit, fleet_file=fleet_file)
    console = wiring.console(json_mode=json_mode)
    with console.busy(fleet, "renewing"):
        told = run_workflow(bring_up_to_date(devices, wiring.reach, authority, renew_now=renew_now))
    console.show(human_renewed(wiring.trust_folder().credentials(), told))
    console.show_json(json_told(told))
    click.get_current_context().exit(exit_code_of_failures([answer.failure for answer in told]))


@command.command("rotate-key", short_help="Replace the key that signs releases.")
@json_option
@click.pass_obj
def rotate_key(wiring: Wiring, json_mode: bool) -> None:
    """Replace the key that signs releases; devices take the new one, signed by the old, with their next release."""
    from edgectl_host.cli.render.trust import human_release_key, json_release_key

    folder = wiring.trust_folder()
    authority = wiring.authority()
    with folder.locked():
        key = authority.releases.rotate()
    console = wiring.console(json_mode=json_mode)
    console.show(human_release_key(key))
    console.show_json(json_release_key(key))


@command.command("audit", short_help="Who changed what on each device, and whom it refused.")
@fleet_options
@click.option("--last", type=click.IntRange(min=1), metavar="N", default=20, show_default=True, help="So many lines.")
@json_option
@click.pass_obj
def audit(
    wiring: Wiring,
    fleet: str,
    labels: tuple[str, ...],
    limit: int | None,
    fleet_file: Path | None,
    last: int,
    json_mode: bool,
) -> None:
    """Who changed what on each device and whom it refused; says if a line was altered or is gone."""
    from edgectl_host.cli.render.trust import human_logs, json_logs
    from edgectl_host.trust.audit import SeenLogs
    from edgectl_host.workflows.ask import error_of, exit_code_of_failures
    from edgectl_host.workflows.trust import read_logs

    devices = wiring.devices(fleet=fleet, labels=labels, limit=limit, fleet_file=fleet_file)
    console = wiring.console(json_mode=json_mode)
    with console.busy(fleet, "reading the logs"):
        logs = run_workflow(read_logs(devices, wiring.connect, SeenLogs(wiring.trust_folder())))
    if len(logs) == 1 and logs[0].failure is not None:
        raise error_of(logs[0].failure)
    console.show(human_logs(logs, last))
    console.show_json(json_logs(logs))
    click.get_current_context().exit(exit_code_of_failures([log.failure for log in logs]))
