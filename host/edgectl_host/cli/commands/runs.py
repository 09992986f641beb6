"""`edgectl runs`: the runs measured so far; `runs show ID` is one of them."""

from __future__ import annotations

import click

from edgectl_host.cli.options import json_option
from edgectl_host.cli.wiring import Wiring


@click.group("runs", invoke_without_command=True)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, metavar="N")
@click.option("--device", metavar="NAME", help="Only runs on this device.")
@json_option
@click.pass_context
def command(context: click.Context, limit: int, device: str | None, json_mode: bool) -> None:
    """Runs measured so far, newest first."""
    if context.invoked_subcommand is not None:
        return
    from edgectl_host.cli.render.runs import human_runs, json_runs

    wiring: Wiring = context.obj
    console = wiring.console(json_mode=json_mode)
    rows = wiring.runs().list(limit=limit, device=device)
    console.show(human_runs(rows))
    console.show_json(json_runs(rows))


@command.command("show")
@click.argument("run", metavar="ID")
@json_option
@click.pass_obj
def show(wiring: Wiring, run: str, json_mode: bool) -> None:
    """One run again: its id, the beginning of it, or `last`."""
    from edgectl_host.cli.render.runs import human_run, json_run

    console = wiring.console(json_mode=json_mode)
    record = wiring.runs().get(run)
    measured = wiring.rates().of(record.summary.facts.machine_id)
    console.show(human_run(record, console.width, measured))
    console.show_json(json_run(record, measured))
