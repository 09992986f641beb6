"""`edgectl report`: a recorded run, for the terminal, an issue or a program."""

from __future__ import annotations

import click

from edgectl_host.cli.options import json_option
from edgectl_host.cli.wiring import Wiring


@click.command("report")
@click.argument("run", metavar="RUN", default="last")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["terminal", "markdown", "json"]),
    default="terminal",
    show_default=True,
)
@json_option
@click.pass_obj
def command(wiring: Wiring, run: str, format_: str, json_mode: bool) -> None:
    """Show a recorded run again: its id, the beginning of it, or `last`."""
    from edgectl_host.cli.render.runs import human_run, json_run
    from edgectl_host.report.markdown import report

    console = wiring.console(json_mode=json_mode or format_ == "json")
    record = wiring.runs().get(run)
    if format_ == "markdown" and not json_mode:
        click.echo(report(record, wiring.rates().of(record.summary.facts.machine_id)), nl=False)
        return
    measured = wiring.rates().of(record.summary.facts.machine_id)
    console.show(human_run(record, console.width, measured))
    console.show_json(json_run(record, measured))
