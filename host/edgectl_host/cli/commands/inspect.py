"""`edgectl inspect`: what a checkpoint is, and the ways from it to a device."""

from __future__ import annotations

from pathlib import Path

import click

from edgectl_host.cli.options import BOARDS, checkpoint_argument, declared_of, graph_options, json_option
from edgectl_host.cli.wiring import Wiring


@click.command("inspect")
@checkpoint_argument
@click.option(
    "--for",
    "--board",
    "boards",
    type=BOARDS,
    default="",
    metavar="BOARD,BOARD",
    help="Every way to these boards, in every scheme; default: those of fp32 to this machine.",
)
@graph_options
@json_option
@click.pass_obj
def command(
    wiring: Wiring,
    checkpoint: Path,
    boards: tuple[str, ...],
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    states: tuple[tuple[str, str], ...],
    json_mode: bool,
) -> None:
    """What a checkpoint is, what it needs, and which ways lead to a board, or why not.

    Sizes are estimates, a floor is what one inference takes at least. Nothing heavy is loaded and nothing is converted.
    """
    from edgectl_host.cli.render.checkpoint import human_card, json_card
    from edgectl_host.workflows.inspect import inspect_checkpoint

    console = wiring.console(json_mode=json_mode)
    with console.busy(checkpoint.name, "reading"):
        declared = declared_of(shapes, states)
        wanted = boards or (wiring.generic_board(),)
        shop, rates = wiring.workshop(), wiring.rates()
        found = inspect_checkpoint(checkpoint, wanted, shop, declared, every=bool(boards), rates=rates)
    console.show(human_card(found))
    console.show_json(json_card(found))
