"""`edgectl init`: the loop that a checkpoint's own features ask for."""

from __future__ import annotations

from pathlib import Path

import click

from edgectl_host.cli.options import FOOTAGE, checkpoint_argument, json_option, task_option
from edgectl_host.cli.wiring import Wiring
from edgectl_protos.domain.errors import UsageError


@click.command("init")
@checkpoint_argument
@click.option("--footage", type=FOOTAGE, metavar="DIR", help="Recorded observations, one file a feature.")
@task_option
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write it there.")
@json_option
@click.pass_obj
def command(
    wiring: Wiring, checkpoint: Path, footage: Path | None, task: str, output: Path | None, json_mode: bool
) -> None:
    """Print the loop derived from a checkpoint; edit it and hand it to deploy --loop."""
    from edgectl_converters.inspect import inspect
    from edgectl_converters.loop_file import derive_loop, dump_loop
    from edgectl_protos.codec.document import to_document

    console = wiring.console(json_mode=json_mode)
    with console.busy(checkpoint.name, "reading"):
        loop = derive_loop(inspect(checkpoint, wiring.workshop().digests).policy, footage, task=task)
    text = dump_loop(loop)
    if output is not None:
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as exc:
            raise UsageError(f"{output} exists already", hint="name another file: -o FILE") from exc
    elif not json_mode:
        click.echo(text, nl=False)
    console.show_json({"loop": to_document(loop), "yaml": text, "file": str(output) if output else None})
