"""`edgectl toolchain`: the environments in which checkpoints are exported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgectl_host.cli.options import json_option
from edgectl_host.cli.wiring import Wiring
from edgectl_protos.domain.errors import UsageError

if TYPE_CHECKING:
    from edgectl_converters.toolchain import Toolchain, Toolchains


@click.group("toolchain")
def command() -> None:
    """The environments in which checkpoints are exported: locked, isolated, made on first use."""


@command.command("list")
@json_option
@click.pass_obj
def list_(wiring: Wiring, json_mode: bool) -> None:
    """What is ready, and what would be made on first use."""
    _show(wiring, _toolchains(wiring).list(), json_mode)


@command.command("use")
@click.argument("name")
@click.option(
    "--python",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="PATH",
    help="The interpreter of your own environment, your custom policy code included.",
)
@click.option("--version", metavar="VERSION", help="A version of LeRobot that edgectl makes: 0.4 or 0.6.")
@json_option
@click.pass_obj
def use(wiring: Wiring, name: str, python: Path | None, version: str | None, json_mode: bool) -> None:
    """Take the environment that your team trained in, or another version of LeRobot."""
    toolchains = _toolchains(wiring)
    if python is not None and version is None:
        chosen = toolchains.use(name, python)
    elif version is not None and python is None:
        chosen = toolchains.use_version(name, version)
    else:
        raise UsageError("one of --python PATH and --version VERSION is needed", hint="edgectl toolchain use --help")
    _show(wiring, [chosen], json_mode)


@command.command("forget")
@click.argument("name")
@json_option
@click.pass_obj
def forget(wiring: Wiring, name: str, json_mode: bool) -> None:
    """Go back to the toolchain that edgectl makes."""
    from rich.text import Text

    there = _toolchains(wiring).forget(name)
    console = wiring.console(json_mode=json_mode)
    console.show(Text(f"{name}: {'forgotten' if there else 'there was none of your own'}"))
    console.show_json({"name": name, "forgotten": there})


@command.command("make")
@click.argument("name")
@json_option
@click.pass_obj
def make(wiring: Wiring, name: str, json_mode: bool) -> None:
    """Make a toolchain now rather than on first use."""
    from edgectl_host.workflows.progress import Step

    with wiring.console(json_mode=json_mode).progress() as progress:
        made = _toolchains(wiring).get(name, lambda text: progress(Step(name, text)))
    _show(wiring, [made], json_mode)


def _toolchains(wiring: Wiring) -> Toolchains:
    from edgectl_converters.toolchain import Toolchains

    return Toolchains(wiring.config.cache_dir, wiring.config.config_dir)


def _show(wiring: Wiring, toolchains: list[Toolchain], json_mode: bool) -> None:
    from edgectl_host.cli.render.checkpoint import human_toolchains, json_toolchains

    console = wiring.console(json_mode=json_mode)
    console.show(human_toolchains(toolchains))
    console.show_json(json_toolchains(toolchains))
