"""`edgectl export`: store the export of a checkpoint beside its weights."""

from __future__ import annotations

from pathlib import Path

import click

from edgectl_host.cli.options import FOOTAGE, checkpoint_argument, json_option, task_option
from edgectl_host.cli.wiring import Wiring


@click.command("export")
@checkpoint_argument
@click.option(
    "--footage", type=FOOTAGE, metavar="DIR", help="Recorded observations for the golden cases; else synthetic."
)
@task_option
@json_option
@click.pass_obj
def command(wiring: Wiring, checkpoint: Path, footage: Path | None, task: str, json_mode: bool) -> None:
    """Store a checkpoint's program, components and golden cases beside its weights.

    The policy's own framework writes them, in its toolchain. The checkpoint then converts where none is installed,
    as long as none of its files changes.
    """
    from rich.text import Text

    from edgectl_converters.conversion import export_checkpoint
    from edgectl_host.workflows.progress import Update

    console = wiring.console(json_mode=json_mode)
    with console.progress() as progress:
        folder = export_checkpoint(
            checkpoint,
            wiring.workshop(),
            lambda text: progress(Update("export", text)),
            footage=footage,
            task=task,
        )
    console.show(Text(f"wrote {folder}"))
    console.show_json({"export": str(folder)})
