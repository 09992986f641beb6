"""`edgectl convert`: one bundle, each of its components for one runtime in one scheme."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgectl_host.cli.options import checkpoint_argument, graph_options, json_option, target_options
from edgectl_host.cli.wiring import Wiring

if TYPE_CHECKING:
    from edgectl_converters.assignment import Choice


@click.command("convert")
@checkpoint_argument
@target_options
@graph_options
@click.option("--board", metavar="NAME", help="The board to convert for; default: this machine.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Copy the bundle there.")
@click.option("--dry-run", is_flag=True, help="Print the steps and change nothing.")
@json_option
@click.pass_obj
def command(
    wiring: Wiring,
    checkpoint: Path,
    runtime: Choice | None,
    scheme: Choice | None,
    task: str,
    footage: Path | None,
    loop_file: Path | None,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    states: tuple[tuple[str, str], ...],
    board: str | None,
    output: Path | None,
    dry_run: bool,
    json_mode: bool,
) -> None:
    """Convert a checkpoint into a bundle, its gates passed; `edgectl deploy BUNDLE` takes it from there."""
    from edgectl_host.cli.render.checkpoint import human_bundle, json_bundle
    from edgectl_host.cli.render.conversion import human_conversions, json_conversions
    from edgectl_host.fleet.inventory import Device
    from edgectl_host.workflows.convert import copied

    console = wiring.console(json_mode=json_mode)
    with console.progress() as progress:
        subject = wiring.subject(
            checkpoint,
            runtime=runtime,
            scheme=scheme,
            task=task,
            footage=footage,
            loop_file=loop_file,
            shapes=shapes,
            states=states,
        )
        assignment = subject.way(Device("this machine", board=board or wiring.generic_board()), None).assignment
        if dry_run:
            plans = tuple(filter(None, (subject.steps(assignment),)))
        else:
            bundle = subject.bundle(assignment, progress)
            bundle = copied(bundle, output) if output is not None else bundle
    if dry_run:
        console.show(human_conversions(plans, console.width))
        console.show_json(json_conversions(plans))
        return
    console.show(human_bundle(bundle))
    console.show_json(json_bundle(bundle))
