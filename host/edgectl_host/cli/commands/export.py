"""`edgectl export`: store the export of a LeRobot checkpoint beside its weights."""

from __future__ import annotations

from pathlib import Path

import click

from edgectl_host.cli.options import FOOTAGE, checkpoint_argument, json_option
from edgectl_host.cli.wiring import Wiring


@click.command("export")
@checkpoint_argument
@click.option(
    "--footage", type=FOOTAGE, metavar="DIR", help="Recorded observations for the golden cases; else synthetic."
)
@json_option
@click.pass_obj
def command(wiring: Wiring, checkpoint: Path, footage: Path | None, json_mode: bool) -> None:
    """Store a checkpoint's graph and golden cases beside its weights.

    LeRobot itself writes them, in its toolchain. The checkpoint then converts where no torch is installed, as
    long as none of its files changes.
    """
    from rich.text import Text

    from edgectl_converters.convert import export_checkpoint
    from edgectl_host.workflows.progress import Step

    console = wiring.console(json_mode=json_mode)
    with console.progress() as progress:
        folder = export_checkpoint(
            checkpoint,
            footage=footage,
            cache_dir=wiring.config.cache_dir,
            config_dir=wiring.config.config_dir,
            progress=lambda text: progress(Step("export", text)),
        )
    console.show(Text(f"wrote {folder}"))
    console.show_json({"export": str(folder)})
