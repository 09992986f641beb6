"""`edgectl device`: devices of the fleet."""

from __future__ import annotations

import click

from edgectl_host.cli.options import DURATION, json_option
from edgectl_host.cli.passphrase import passphrase_option, reader
from edgectl_host.cli.wiring import Wiring


@click.group("device")
def command() -> None:
    """Devices of the fleet: how they come in."""


@command.command("invite")
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
    import asyncio

    from edgectl_host.cli.render.trust import human_enrolled, json_enrolled
    from edgectl_host.trust.authority import Authority
    from edgectl_host.trust.invitation import Invitations, own_address
    from edgectl_protos.domain.invitation import Invitation

    def say(text: str) -> None:
        click.echo(text, err=True)

    def show(invitation: Invitation) -> None:
        say("on the device, as the agent's user:\n")
        say(f"  edgectl-agent enrol {invitation.code} --state-dir /var/lib/edgectl\n")
        say(f"waiting at {invitation.address} for {valid_s / 60:.0f} minutes; authority {invitation.fingerprint[:16]}…")

    authority = Authority.ensure(wiring.trust_dir, owner=wiring.config.owner, passphrase=reader(passphrase_fd))
    invitations = Invitations(wiring.trust_folder(), authority, say)
    enrolled = asyncio.run(invitations.invite(name, host=host or own_address(), port=port, valid_s=valid_s, show=show))
    console = wiring.console(json_mode=json_mode)
    console.show(human_enrolled(enrolled))
    console.show_json(json_enrolled(enrolled))
