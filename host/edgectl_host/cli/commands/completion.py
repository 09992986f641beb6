"""`edgectl completion`: the script that a shell sources."""

from __future__ import annotations

import click

from edgectl_host.cli.options import json_option
from edgectl_host.cli.wiring import Wiring
from edgectl_host.config import COMPLETION_VARIABLE


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
@click.pass_context
def command(context: click.Context, shell: str, json_mode: bool) -> None:
    """Print the completion script of a shell.

    bash: eval "$(edgectl completion bash)" in ~/.bashrc. zsh: the same in ~/.zshrc. fish: edgectl completion fish
    > ~/.config/fish/completions/edgectl.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None, "click knows the shells of the choice"
    script = found(context.find_root().command, {}, "edgectl", COMPLETION_VARIABLE).source()
    wiring: Wiring = context.obj
    if not json_mode:
        click.echo(script)
    wiring.console(json_mode=json_mode).show_json({"shell": shell, "script": script})
