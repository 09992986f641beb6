"""`edgectl cache`: what conversions keep on this machine."""

from __future__ import annotations

import sys

import click

from edgectl_host.cli.options import AGE, SIZE, json_option
from edgectl_host.cli.wiring import Wiring
from edgectl_protos.domain.errors import UsageError


@click.group("cache", invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, json_mode: bool) -> None:
    """What conversions keep on this machine: exports, artifacts, bundles and toolchains, with their sizes."""
    if context.invoked_subcommand is not None:
        return
    from edgectl_host.cli.render.cache import human_entries, json_entries
    from edgectl_host.workflows.cache import list_entries

    wiring: Wiring = context.obj
    console = wiring.console(json_mode=json_mode)
    with console.busy("cache", "adding up sizes"):
        entries = list_entries(wiring.config.cache_dir)
    console.show(human_entries(entries, wiring.config.cache_dir))
    console.show_json(json_entries(entries, wiring.config.cache_dir))


@command.command("trim")
@click.option("--older-than", "older_than_s", type=AGE, metavar="30d", help="Remove what was not used for this long.")
@click.option("--keep", "keep_bytes", type=SIZE, metavar="10GB", help="Remove the least recently used beyond it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def trim(wiring: Wiring, older_than_s: float | None, keep_bytes: int | None, yes: bool, json_mode: bool) -> None:
    """Remove what was not used for long. It is made again when it is needed."""
    from edgectl_host.cli.render.cache import human_removed, json_removed
    from edgectl_host.quantities import bytes_words
    from edgectl_host.workflows.cache import list_entries, remove, stale

    if older_than_s is None and keep_bytes is None:
        raise UsageError("nothing says what to remove", hint="edgectl cache trim --older-than 30d, or --keep 10GB")
    console = wiring.console(json_mode=json_mode)
    with console.busy("cache", "adding up sizes"):
        chosen = stale(list_entries(wiring.config.cache_dir), older_than_s=older_than_s, keep_bytes=keep_bytes)
    size = bytes_words(sum(entry.size_bytes for entry in chosen))
    if chosen and not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"there is no terminal to ask whether {len(chosen)} entries may go, {size}", hint="--yes")
        click.confirm(f"remove {len(chosen)} entries, {size}?", abort=True, err=True)
    with console.progress() as progress:
        removed = remove(wiring.config.cache_dir, chosen, progress)
    console.show(human_removed(removed))
    console.show_json(json_removed(removed))
