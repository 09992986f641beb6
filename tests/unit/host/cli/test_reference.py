"""`docs/cli.md` is what the commands say about themselves."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from edgectl_host.cli.app import COMMANDS
from edgectl_testkit.documents import check_section

REFERENCE = Path(__file__).resolve().parents[4] / "docs" / "cli.md"


def paths() -> list[tuple[str, ...]]:
    """Every command and what is below it, in the order of the help."""
    found: list[tuple[str, ...]] = [()]
    for name, (module, _) in COMMANDS.items():
        command = importlib.import_module(f"edgectl_host.cli.commands.{module}").command
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.commands]
    return found


def test_the_reference_is_the_help(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = ""
    for path in paths():
        shown = cli(*path, "--help")
        assert shown.code == 0
        cut_off = [line for line in shown.out.splitlines()[1:] if line.endswith("...")]
        assert not cut_off, "a short_help= would fit"
        words = " ".join(("edgectl", *path))
        text += f"\n## {words}\n\n```\n{shown.out.rstrip()}\n```\n"
    check_section(REFERENCE, "cli", text + "\n")
