"""`edgectl status`: what is installed on each device."""

from __future__ import annotations

from pathlib import Path

import click

from edgectl_host.cli.loop import run_workflow
from edgectl_host.cli.options import fleet_options, json_option
from edgectl_host.cli.wiring import Wiring


@click.command("status")
@fleet_options
@json_option
@click.pass_obj
def command(
    wiring: Wiring,
    fleet: str,
    labels: tuple[str, ...],
    limit: int | None,
    fleet_file: Path | None,
    json_mode: bool,
) -> None:
    """What is installed on each device, what was before, and what the device is."""
    from edgectl_host.cli.render.fleet import human_status, json_status
    from edgectl_host.workflows.ask import error_of, exit_code_of_failures
    from edgectl_host.workflows.status import status_all

    console = wiring.console(json_mode=json_mode)
    devices = wiring.devices(fleet=fleet, labels=labels, limit=limit, fleet_file=fleet_file)
    with console.busy(fleet, "asking the devices"):
        answers = run_workflow(status_all(devices, connect=wiring.connect))
    if len(answers) == 1 and answers[0].failure is not None:
        raise error_of(answers[0].failure)
    console.show(human_status(answers))
    console.show_json(json_status(answers))
    click.get_current_context().exit(exit_code_of_failures([answer.failure for answer in answers]))
