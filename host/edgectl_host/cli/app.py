"""The command group: a table of names, modules and one-line helps, so that help imports no command.

A command's module holds a click command named `command`. It is imported when the command is run, or its own
help is asked for.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence

import click

from edgectl_host.cli.errors import guarded
from edgectl_host.cli.wiring import Wiring
from edgectl_host.config import COMPLETION_VARIABLE

__all__ = ["COMMANDS", "edgectl", "run"]

COMMANDS: dict[str, tuple[str, str]] = {
    "inspect": ("inspect", "What a checkpoint is, and what it needs."),
    "init": ("init", "Print the loop derived from a checkpoint, to edit."),
    "convert": ("convert", "Convert a checkpoint into a bundle."),
    "export": ("export", "Store a checkpoint's export beside its weights."),
    "deploy": ("deploy", "Convert, install, prove, run the loop, and say whether it holds."),
    "profile": ("profile", "Run the installed loop again and judge it."),
    "compare": ("compare", "Run two releases in turns, and say whether the second is slower."),
    "rollback": ("rollback", "Put the previous release back."),
    "status": ("status", "What is installed on each device."),
    "runs": ("runs", "Runs measured so far."),
    "report": ("report", "Show a recorded run again."),
    "toolchain": ("toolchain", "The environments in which conversions run."),
    "cache": ("cache", "What conversions keep on this machine: show, trim."),
    "device": ("device", "Agents on your devices, over ssh: add, ls, update, rm, invite."),
    "ca": ("ca", "The authority of a fleet: make it."),
    "trust": ("trust", "Who may do what in the fleet; issue, revoke, renew, audit."),
    "agent": ("agent", "The embedded agent of this machine: start, stop, status."),
    "demo": ("demo", "The example policy on this machine: verdicts side by side."),
    "doctor": ("doctor", "What is here, what is missing, and the command that helps."),
    "completion": ("completion", "Print the completion script of a shell."),
}


class _LazyGroup(click.Group):
    """Imports a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"edgectl_host.cli.commands.{COMMANDS[name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in COMMANDS:
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            meant = f" Did you mean {close[0]}?" if close else ""
            raise click.UsageError(f"there is no command {name!r}.{meant}", ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        # Reading a distribution's metadata takes longer than all other work of `--help`.
        from importlib.metadata import version

        click.echo(f"edgectl {version('edgectl-host')}")
        context.exit()


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every command has --json. Exit codes: 0 pass, 1 fail, 3 inconclusive, 4 part of a fleet failed; "
    "any other is an error with a reason of its own.",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show it.")
def edgectl() -> None:
    """From a policy checkpoint to a verdict on your own devices: does the control loop hold?

    edgectl deploy ./my_policy --fleet local
    """


def run(arguments: Sequence[str], wiring: Wiring) -> int:
    """Run one command and return the exit code; nothing is raised."""
    config = wiring.config
    if config.completion:
        from click.shell_completion import shell_complete

        return shell_complete(edgectl, {"obj": wiring}, "edgectl", COMPLETION_VARIABLE, config.completion)

    def command() -> int:
        # Not `main`, which would answer interrupts and closed pipes in its own way.
        with edgectl.make_context("edgectl", list(arguments), obj=wiring) as context:
            edgectl.invoke(context)
        return 0

    return guarded(command, json_mode="--json" in arguments, log_dir=config.data_dir)
