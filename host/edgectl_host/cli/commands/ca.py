"""`edgectl ca`: the authority of a fleet."""

from __future__ import annotations

import click

from edgectl_host.cli.options import json_option
from edgectl_host.cli.passphrase import passphrase_option, read_new_passphrase
from edgectl_host.cli.wiring import Wiring


@click.group("ca")
def command() -> None:
    """The authority of a fleet: it says which device is which, and who may do what on them."""


@command.command("init", short_help="Make the authority, and this host's own certificate.")
@click.option("--name", default="edgectl fleet", show_default=True, metavar="TEXT", help="What the fleet is called.")
@click.option("--encrypt", is_flag=True, help="Keep the authority's key under a passphrase, which is asked for.")
@passphrase_option
@json_option
@click.pass_obj
def init(wiring: Wiring, name: str, encrypt: bool, passphrase_fd: int | None, json_mode: bool) -> None:
    """Make the authority, the key that signs releases, and this host's own certificate.

    All of it lies in one folder of this user alone; whoever has that folder has the fleet. edgectl device add makes one
    without a passphrase where there is none.
    """
    from edgectl_host.cli.render.trust import human_own, json_own
    from edgectl_host.trust.authority import Authority

    passphrase = read_new_passphrase(passphrase_fd) if encrypt or passphrase_fd is not None else None
    authority = Authority.init(wiring.trust_dir, owner=wiring.config.owner, name=name, passphrase=passphrase)
    console = wiring.console(json_mode=json_mode)
    console.show(human_own(wiring.trust_folder(), authority))
    console.show_json(json_own(wiring.trust_folder(), authority))
