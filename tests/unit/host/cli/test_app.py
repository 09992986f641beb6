"""The group: help that costs nothing, commands that load when they run."""

from __future__ import annotations

import importlib
import subprocess
import sys

import click
import pytest

from edgectl_host.cli.app import COMMANDS
from edgectl_host.cli.wiring import Wiring

HEAVY = {
    "edgectl_converters", "edgectl_profiles", "grpc", "msgspec", "numpy", "onnx", "openvino", "rich", "sqlalchemy",
    "yaml",
}  # fmt: skip


def test_help_loads_nothing_heavy():
    """How long it takes is measured by `make bench`."""
    code = (
        "import sys; sys.argv = ['edgectl', '--help']\n"
        "from edgectl_host.__main__ import main\n"
        "assert main() == 0\n"
        "sys.stderr.write(' '.join({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stderr.split()) & HEAVY
    assert "From a policy checkpoint to a verdict" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_exists_and_has_json_and_help(cli, name):
    module, text = COMMANDS[name]
    command = importlib.import_module(f"edgectl_host.cli.commands.{module}").command
    assert command.name == name
    leaves = command.commands.values() if isinstance(command, click.Group) else [command]
    for leaf in leaves:
        assert any("--json" in parameter.opts for parameter in leaf.params), leaf.name
    assert text.endswith(".")
    shown = cli(name, "--help")
    assert (shown.code, shown.err) == (0, "")
    assert f"Usage: edgectl {name}" in shown.out


def test_help_fits_eighty_columns(cli):
    for arguments in ([], *([name] for name in COMMANDS)):
        assert max(map(len, cli(*arguments, "--help").out.split("\n"))) <= 80


def test_no_arguments_show_the_help(cli):
    result = cli()
    assert result.code == 2
    assert "Commands:" in result.out
    assert "error" not in result.err


def test_a_mistyped_command_is_guessed(cli):
    result = cli("deplyo", "x")
    assert result.code == 2
    assert result.err == "error[usage]: there is no command 'deplyo'. Did you mean deploy?\nhint: edgectl --help\n"


def test_a_wrong_option_points_at_the_command_s_own_help(cli):
    result = cli("deploy", "x", "--flet", "local")
    assert result.code == 2
    assert result.err.startswith("error[usage]: No such option")
    assert result.err.endswith("hint: edgectl deploy --help\n")


def test_the_version_is_shown(cli):
    assert cli("--version").out.startswith("edgectl 0.")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_the_shell(cli, shell):
    result = cli("completion", shell)
    assert result.code == 0
    assert "_EDGECTL_COMPLETE" in result.out


def test_completion_completes_commands_without_running_them(monkeypatch, capsys, home):
    from dataclasses import replace

    from edgectl_host.cli.app import run

    monkeypatch.setenv("COMP_WORDS", "edgectl de")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert run([], Wiring(replace(home, completion="bash_complete"))) == 0
    assert {line.split(",")[1] for line in capsys.readouterr().out.split()} == {"deploy", "demo", "device"}
