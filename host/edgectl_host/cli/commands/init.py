"""`edgectl init`: the loop that a checkpoint's own features ask for."""

from __future__ import annotations

from pathlib import Path

import click

from edgectl_host.cli.options import FOOTAGE, checkpoint_argument, declared_of, graph_options, json_option, task_option
from edgectl_host.cli.wiring import Wiring
from edgectl_protos.domain.errors import UsageError


@click.command("init")
@checkpoint_argument
@click.option("--footage", type=FOOTAGE, metavar="DIR", help="Recordings, one file a feature, or a LeRobot dataset.")
@task_option
@graph_options
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write it there.")
@json_option
@click.pass_obj
def command(
    wiring: Wiring,
    checkpoint: Path,
    footage: Path | None,
    task: str,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    states: tuple[tuple[str, str], ...],
    output: Path | None,
    json_mode: bool,
) -> None:
    """Print the loop derived from a checkpoint; edit it and hand it to deploy --loop."""
    from edgectl_converters.inspect import inspect
    from edgectl_converters.loop_file import derive_loop, dump_loop
    from edgectl_converters.observations.opened import open_footage
    from edgectl_protos.codec.document import to_document

    console = wiring.console(json_mode=json_mode)
    with console.busy(checkpoint.name, "reading"):
        workshop = wiring.workshop()
        policy = inspect(checkpoint, workshop.digests, declared_of(shapes, states), footage).policy
        loop = derive_loop(policy, open_footage(policy, footage, workshop), task=task)
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
