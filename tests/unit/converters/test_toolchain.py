from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import edgectl_converters
from edgectl_converters import toolchain as module
from edgectl_converters.toolchain import Toolchains
from edgectl_protos.domain.errors import ToolchainError

ALL = {"python": "3.11.7", "lerobot": "0.4.4", "torch": "2.13.0", "onnx": "1", "onnxscript": "1", "numpy": "2"}


@pytest.fixture
def toolchains(tmp_path):
    return Toolchains(tmp_path / "cache", tmp_path / "config")


def interpreter(folder: Path, versions) -> Path:
    """A program that answers the probe like a Python with these packages."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "python"
    path.write_text(f"#!/bin/sh\necho '{json.dumps(versions)}'\n")
    path.chmod(0o755)
    return path


def ignore(text):
    """Progress that nobody reads."""


def test_the_host_is_this_environment(toolchains):
    host = toolchains.get("host", ignore)
    assert host.python == Path(sys.executable)
    assert host.versions["numpy"]
    assert host.lock == toolchains.host().lock


def test_an_unknown_toolchain_is_refused_with_those_that_there_are(toolchains):
    with pytest.raises(ToolchainError, match="host, lerobot"):
        toolchains.get("gr00t", ignore)
    with pytest.raises(ToolchainError, match="gr00t"):
        toolchains.use("gr00t", Path(sys.executable))


def test_a_teams_own_python_is_taken_until_it_is_forgotten(toolchains, tmp_path):
    python = interpreter(tmp_path / "env", ALL)
    assert toolchains.use("lerobot", python).versions["lerobot"] == "0.4.4"
    found = toolchains.get("lerobot", ignore)
    assert (found.python, found.origin) == (python, "yours")
    assert toolchains.forget("lerobot")
    assert not toolchains.forget("lerobot")
    assert toolchains.list()[1].lock == ""


def test_an_upgrade_in_a_teams_environment_changes_the_lock(toolchains, tmp_path):
    before = toolchains.use("lerobot", interpreter(tmp_path / "env", ALL)).lock
    interpreter(tmp_path / "env", ALL | {"torch": "2.14.0"})
    assert toolchains.get("lerobot", ignore).lock != before


def test_missing_packages_come_with_the_command_that_installs_them(toolchains, tmp_path):
    python = interpreter(tmp_path / "env", ALL | {"onnxscript": "", "onnx": ""})
    with pytest.raises(ToolchainError, match="has no onnx, onnxscript") as caught:
        toolchains.use("lerobot", python)
    assert caught.value.hint == f"{python} -m pip install onnx onnxscript"
    assert toolchains.list()[1].lock == ""


@pytest.mark.parametrize("kind", ["absent", "directory", "text"])
def test_something_that_is_no_python_is_refused(toolchains, tmp_path, kind):
    path = tmp_path / "python"
    if kind == "directory":
        path.mkdir()
    if kind == "text":
        path.write_text("hello")
    with pytest.raises(ToolchainError, match="not a Python"):
        toolchains.use("lerobot", path)


def test_an_environment_that_went_away_is_an_error_and_not_a_silent_change(toolchains, tmp_path):
    python = interpreter(tmp_path / "env", ALL)
    toolchains.use("lerobot", python)
    python.unlink()
    with pytest.raises(ToolchainError, match="no longer") as caught:
        toolchains.get("lerobot", ignore)
    assert "forget lerobot" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"lerobot": "x"}', '{"lerobot": {"version": "9"}}'])
def test_a_damaged_memory_of_toolchains_says_what_to_delete(toolchains, tmp_path, text):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/toolchains.json").write_text(text)
    with pytest.raises(ToolchainError) as caught:
        toolchains.get("lerobot", ignore)
    assert "toolchains.json" in caught.value.hint


@pytest.fixture
def installs(monkeypatch):
    """Commands instead of a real installation."""
    commands = []

    def run(command):
        commands.append(command)
        if "venv" in command:
            interpreter(Path(command[-1]) / "bin", ALL)

    monkeypatch.setattr(module, "_run", run)
    monkeypatch.setattr(module, "_base_python", lambda wanted: "python3")
    return commands


@pytest.fixture
def pythons(installs, monkeypatch):
    """Versions of Python that are at hand; what edgectl runs in is none of them unless it is named first."""

    def at_hand(*versions):
        monkeypatch.setattr(module, "_PYTHON", versions[0])
        monkeypatch.setattr(module, "_base_python", lambda wanted: "python3" if wanted in versions else None)

    return at_hand


@pytest.mark.parametrize(
    ("at_hand", "version"),
    [
        (("3.11",), "0.4"),
        (("3.12",), "0.6"),
        (("3.12", "3.11"), "0.6"),
        (("3.11", "3.12"), "0.4"),
        (("3.13", "3.11", "3.12"), "0.4"),
        (("3.13", "3.12"), "0.6"),
    ],
)
def test_the_version_of_lerobot_follows_the_python_at_hand(toolchains, pythons, at_hand, version):
    pythons(*at_hand)
    assert f"LeRobot {version}" in toolchains.list()[1].origin
    said = []
    toolchains.get("lerobot", said.append)
    assert f"LeRobot {version}" in said[-1]


def test_without_a_fitting_python_the_error_names_those_that_would(toolchains, pythons):
    pythons("3.13")
    with pytest.raises(ToolchainError, match=r"needs Python 3\.11 or 3\.12") as caught:
        toolchains.get("lerobot", ignore)
    assert "--python PATH" in caught.value.hint
    # Looking is no error.
    assert toolchains.list()[1].lock == ""


def test_a_version_that_was_asked_for_is_taken_until_it_is_forgotten(toolchains, pythons):
    pythons("3.11", "3.12")
    assert toolchains.use_version("lerobot", "0.6").lock == ""
    newer = toolchains.get("lerobot", ignore)
    assert toolchains.forget("lerobot")
    assert toolchains.get("lerobot", ignore).lock != newer.lock
    assert toolchains.use_version("lerobot", "0.6") == newer


def test_a_version_whose_python_is_not_at_hand_is_refused_and_nothing_changes(toolchains, pythons):
    pythons("3.11")
    with pytest.raises(ToolchainError, match=r"3\.12"):
        toolchains.use_version("lerobot", "0.6")
    assert not toolchains.forget("lerobot")


def test_a_python_that_only_stands_on_the_path_is_not_at_hand(tmp_path, monkeypatch):
    for version, status in (("3.97", 0), ("3.98", 127)):
        # As the shims of version managers do for what is not installed.
        (tmp_path / f"python{version}").write_text(f"#!/bin/sh\nexit {status}\n")
        (tmp_path / f"python{version}").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert module._base_python("3.97") == str(tmp_path / "python3.97")
    assert module._base_python("3.98") is None
    assert module._base_python("3.99") is None


def test_its_processes_report_to_nobody(toolchains):
    environment = toolchains.host().environment()
    assert environment["CI"] == "true"
    assert environment["NNCF_CI"] == "1"


def test_it_is_made_once_in_the_stated_order(toolchains, installs):
    said = []
    first = toolchains.get("lerobot", said.append)
    count = len(installs)
    assert toolchains.get("lerobot", said.append) == first
    assert len(installs) == count
    assert "venv" in installs[0]
    text = [" ".join(command) for command in installs[1:]]
    assert "torch.txt" in text[0]
    assert "--no-deps" in text[-1]
    assert len(said) == len(installs)


@pytest.mark.parametrize("broken", range(4))
def test_an_interruption_at_any_step_leaves_nothing_half(toolchains, installs, monkeypatch, broken):
    run = module._run

    def interrupted(command):
        if len(installs) == broken:
            raise KeyboardInterrupt
        run(command)

    monkeypatch.setattr(module, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        toolchains.get("lerobot", ignore)
    assert toolchains.list()[1].lock == ""
    monkeypatch.setattr(module, "_run", run)
    assert toolchains.get("lerobot", ignore).lock


def test_an_environment_without_its_mark_does_not_count(toolchains, installs):
    made = toolchains.get("lerobot", ignore)
    (made.python.parent.parent / module._MARKER).unlink()
    assert toolchains.list()[1].lock == ""


def test_the_requirement_files_name_no_host_and_pin_everything():
    folder = Path(edgectl_converters.__file__).parent / "toolchains"
    files = list(folder.rglob("*.txt"))
    assert files
    for file in files:
        for line in file.read_text().splitlines():
            assert "://" not in line, file
            assert not line.startswith(("--index-url", "--extra-index-url", "--find-links")), file
            if line and not line.startswith((" ", "#")):
                assert "==" in line, (file, line)


def test_its_processes_see_edgectl_and_nothing_else_of_the_host(toolchains, tmp_path):
    toolchains.use("lerobot", interpreter(tmp_path / "env", ALL))
    environment = toolchains.get("lerobot", ignore).environment()
    code = "import edgectl_converters.worker, sys; print('edgectl_host' in sys.modules)"
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert sorted(path.name for path in Path(environment["PYTHONPATH"]).iterdir()) == [
        "edgectl_converters",
        "edgectl_protos",
    ]
