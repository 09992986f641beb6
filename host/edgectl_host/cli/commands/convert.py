"""`edgectl convert`: one bundle for one runtime at one precision."""

from __future__ import annotations

from pathlib import Path

import click

from edgectl_host.cli.options import checkpoint_argument, json_option, target_options
from edgectl_host.cli.wiring import Wiring
from edgectl_protos.domain.artifact import Precision


@click.command("convert")
@checkpoint_argument
@target_options
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Copy the bundle there.")
@json_option
@click.pass_obj
def command(
    wiring: Wiring,
    checkpoint: Path,
    runtime: str | None,
    precision: Precision | None,
    footage: Path | None,
    loop_file: Path | None,
    output: Path | None,
    json_mode: bool,
) -> None:
    """Convert a checkpoint into a bundle, its gates passed; `edgectl deploy BUNDLE` takes it from there."""
    from dataclasses import replace

    from edgectl_converters.convert import copy_bundle
    from edgectl_host.cli.render.checkpoint import human_release, json_release
    from edgectl_host.fleet.inventory import Device

    console = wiring.console(json_mode=json_mode)
    with console.progress() as progress:
        subject = wiring.subject(checkpoint, runtime=runtime, precision=precision, footage=footage, loop_file=loop_file)
        here = Device("this machine", board=wiring.generic_board())
        release = subject.release(subject.route(here, None).target, progress)
        if output is not None:
            copy_bundle(release.directory, output)
            release = replace(release, directory=output)
    console.show(human_release(release))
    console.show_json(json_release(release))
