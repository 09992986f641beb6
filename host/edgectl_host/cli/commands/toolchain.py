"""`edgectl toolchain`: the environments in which conversions run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgectl_host.cli.options import json_option
from edgectl_host.cli.wiring import Wiring

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgectl_host.workflows.toolchains import Listed


@click.group("toolchain")
def command() -> None:
    """The environments in which conversions run: locked, isolated, made on first use."""


@command.command("list")
@json_option
@click.pass_obj
def list_(wiring: Wiring, json_mode: bool) -> None:
    """What is ready, and what would be made on first use."""
    from edgectl_host.workflows.toolchains import list_toolchains

    with wiring.console(json_mode=json_mode).busy("toolchains", "asking their Pythons"):
        found = list_toolchains(wiring.toolchains())
    _show(wiring, found, json_mode)


@command.command("make")
@click.argument("name")
@json_option
@click.pass_obj
def make(wiring: Wiring, name: str, json_mode: bool) -> None:
    """Make a toolchain now rather than on first use."""
    from edgectl_host.workflows.progress import Update
    from edgectl_host.workflows.toolchains import Listed

    with wiring.console(json_mode=json_mode).progress() as progress:
        made = wiring.toolchains().get(name, lambda text: progress(Update(name, text)))
    _show(wiring, [Listed(name, made)], json_mode)


@command.command("use", short_help="Take the environment that your team trained in.")
@click.argument("name")
@click.option(
    "--python",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    metavar="PATH",
    help="The interpreter of your own environment, in which your policies' code is.",
)
@json_option
@click.pass_obj
def use(wiring: Wiring, name: str, python: Path, json_mode: bool) -> None:
    """Take the environment that your team trained in, instead of the one that edgectl makes."""
    from edgectl_host.workflows.toolchains import Listed

    with wiring.console(json_mode=json_mode).busy(name, "asking its Python"):
        chosen = wiring.toolchains().use(name, python)
    _show(wiring, [Listed(name, chosen)], json_mode)


@command.command("forget")
@click.argument("name")
@json_option
@click.pass_obj
def forget(wiring: Wiring, name: str, json_mode: bool) -> None:
    """Go back to the toolchain that edgectl makes."""
    from rich.text import Text

    there = wiring.toolchains().forget(name)
    console = wiring.console(json_mode=json_mode)
    console.show(Text(f"{name}: {'forgotten' if there else 'there was none of your own'}"))
    console.show_json({"name": name, "forgotten": there})


def _show(wiring: Wiring, toolchains: Sequence[Listed], json_mode: bool) -> None:
    from edgectl_host.cli.render.toolchain import human_toolchains, json_toolchains

    console = wiring.console(json_mode=json_mode)
    console.show(human_toolchains(toolchains))
    console.show_json(json_toolchains(toolchains))
