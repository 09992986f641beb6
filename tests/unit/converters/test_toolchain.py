from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import edgectl_converters
from edgectl_converters import environment
from edgectl_converters.pythons import PythonSearch
from edgectl_converters.toolchain import Toolchains
from edgectl_protos.domain.errors import CancelledError, ToolchainError

NAME = "lerobot-0.4"
NEEDED = ("lerobot", "torch", "onnx", "onnxscript", "numpy", "safetensors")


@pytest.fixture
def bases(tmp_path):
    """A PATH on which a test puts interpreters."""
    return tmp_path / "bin"


@pytest.fixture
def toolchains(tmp_path, bases):
    search = PythonSearch(tmp_path / "home", path=(bases,), system=(), own=False)
    return Toolchains(tmp_path / "cache", tmp_path / "config", search)


def base(folder, version="3.11"):
    """A base interpreter that makes environments."""
    folder.mkdir(exist_ok=True)
    path = folder / f"python{version}"
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return path


def team(folder, packages=NEEDED, version="1.0"):
    """A team's interpreter that answers the probe, with the metadata of its packages beside it."""
    site = folder / "site"
    site.mkdir(parents=True, exist_ok=True)
    for package in packages:
        (site / f"{package}-{version}.dist-info").mkdir()
        (site / f"{package}-{version}.dist-info/METADATA").write_text(f"Name: {package}\nVersion: {version}\n")
    versions = {"python": "3.11.7"} | {name: version if name in packages else "" for name in NEEDED}
    path = folder / "python"
    path.write_text(f"#!/bin/sh\necho '{json.dumps({'versions': versions, 'paths': [str(site)]})}'\n")
    path.chmod(0o755)
    return path


def ignore(text):
    """Progress that nobody reads."""


@pytest.fixture
def installs(monkeypatch, bases):
    """Commands instead of a real installation."""
    base(bases)
    commands = []

    def run(recipe, command, folder, brake):
        commands.append(command)
        if "venv" in command:
            team(Path(command[-1]) / "bin")

    monkeypatch.setattr(environment, "_run", run)
    return commands


def test_the_host_is_this_environment(toolchains):
    host = toolchains.get("host", ignore)
    assert host.python == Path(sys.executable)
    assert host.versions["numpy"]
    assert host.lock == toolchains.host().lock
    assert host.lock != toolchains.host(("onnxruntime",)).lock


def test_a_package_that_the_host_lacks_is_an_error_with_its_command(toolchains):
    with pytest.raises(ToolchainError, match="absent-runtime is needed") as caught:
        toolchains.host(("absent-runtime",))
    assert "pip install absent-runtime" in caught.value.hint


def test_an_unknown_toolchain_is_refused_with_those_that_there_are(toolchains):
    with pytest.raises(ToolchainError, match=r"host, .*lerobot-0\.4"):
        toolchains.get("gr00t", ignore)
    for action in (lambda: toolchains.use("host", Path(sys.executable)), lambda: toolchains.forget("host")):
        with pytest.raises(ToolchainError, match="own environment"):
            action()


def test_a_teams_own_python_is_taken_until_it_is_forgotten(toolchains, tmp_path):
    python = team(tmp_path / "env")
    assert toolchains.use(NAME, python).versions["lerobot"] == "1.0"
    found = toolchains.get(NAME, ignore)
    assert (found.python, found.origin) == (python, "yours")
    assert toolchains.lock_of(NAME) == found.lock
    assert toolchains.forget(NAME)
    assert not toolchains.forget(NAME)
    assert toolchains.find(NAME).lock == ""


def test_an_upgrade_in_a_teams_environment_changes_the_lock(toolchains, tmp_path):
    before = toolchains.use(NAME, team(tmp_path / "env")).lock
    (tmp_path / "env/site/torch-1.0.dist-info/METADATA").write_text("Name: torch\nVersion: 2.0\n")
    assert toolchains.get(NAME, ignore).lock != before


def test_missing_packages_come_with_the_command_that_installs_them(toolchains, tmp_path):
    python = team(tmp_path / "env", NEEDED[:2])
    with pytest.raises(ToolchainError, match="has no onnx, onnxscript, numpy, safetensors") as caught:
        toolchains.use(NAME, python)
    assert caught.value.hint == f"{python} -m pip install onnx onnxscript numpy safetensors"
    assert toolchains.find(NAME).lock == ""


@pytest.mark.parametrize("kind", ["absent", "directory", "text", "env"])
def test_something_that_is_no_python_is_refused(toolchains, tmp_path, kind):
    path = tmp_path / "python"
    if kind == "directory":
        path.mkdir()
    if kind == "text":
        path.write_text("hello")
    with pytest.raises(ToolchainError, match="not a Python"):
        toolchains.use(NAME, Path("/usr/bin/env") if kind == "env" else path)


@pytest.mark.parametrize("what", ["python", "package"])
def test_an_environment_that_went_away_is_an_error_and_not_a_silent_change(toolchains, tmp_path, what):
    python = team(tmp_path / "env")
    toolchains.use(NAME, python)
    gone = python if what == "python" else tmp_path / "env/site/torch-1.0.dist-info/METADATA"
    gone.unlink()
    if what == "package":
        gone.parent.rmdir()
    with pytest.raises(ToolchainError, match="gone|has no torch") as caught:
        toolchains.get(NAME, ignore)
    assert f"forget {NAME}" in caught.value.hint
    assert toolchains.forget(NAME)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"python": 3}', "null", '{"python": {"x": {}}}', '{"lerobot": {}}'])
def test_a_damaged_memory_of_toolchains_says_what_to_delete(toolchains, tmp_path, text):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/toolchains.json").write_text(text)
    with pytest.raises(ToolchainError) as caught:
        toolchains.get(NAME, ignore)
    assert "toolchains.json" in caught.value.hint
    assert toolchains.forget(NAME)


def test_without_its_python_the_error_names_it_and_where_it_was_looked_for(toolchains):
    with pytest.raises(ToolchainError, match=r"needs Python 3\.11.*pyenv, uv, asdf, mise, conda") as caught:
        toolchains.get(NAME, ignore)
    assert "--python PATH" in caught.value.hint
    # Looking is no error, and the lock is known before.
    assert toolchains.find(NAME).lock == ""
    assert toolchains.lock_of(NAME)


def test_it_is_made_once_in_the_stated_order(toolchains, installs):
    said = []
    assert "minutes" in toolchains.estimate(NAME)
    lock = toolchains.lock_of(NAME)
    first = toolchains.get(NAME, said.append)
    assert first.lock == lock
    assert toolchains.estimate(NAME) == ""
    count = len(installs)
    assert toolchains.get(NAME, said.append) == first
    assert len(installs) == count
    assert "venv" in installs[0]
    text = [" ".join(command) for command in installs[1:]]
    assert "torch.txt" in text[0]
    assert "--no-deps" in text[-1]
    assert len(said) == len(installs)


@pytest.mark.parametrize("broken", range(4))
@pytest.mark.parametrize("error", [KeyboardInterrupt, ToolchainError("no network")])
def test_a_failure_at_any_step_leaves_nothing_half(toolchains, installs, monkeypatch, tmp_path, broken, error):
    run = environment._run

    def interrupted(recipe, command, folder, brake):
        if len(installs) == broken:
            raise error
        run(recipe, command, folder, brake)

    monkeypatch.setattr(environment, "_run", interrupted)
    with pytest.raises((KeyboardInterrupt, ToolchainError)):
        toolchains.get(NAME, ignore)
    assert toolchains.find(NAME).lock == ""
    assert not list((tmp_path / "cache/toolchains").glob("lerobot*"))
    monkeypatch.setattr(environment, "_run", run)
    assert toolchains.get(NAME, ignore).lock


def test_an_environment_without_its_mark_does_not_count(toolchains, installs):
    made = toolchains.get(NAME, ignore)
    (made.python.parent.parent / "edgectl-ready.json").unlink()
    assert toolchains.find(NAME).lock == ""


def test_an_interpreter_removed_later_is_said_with_what_mends_it(toolchains, installs):
    made = toolchains.get(NAME, ignore)
    made.python.unlink()
    with pytest.raises(ToolchainError, match=r"was made with .*python3\.11, which is gone") as caught:
        toolchains.find(NAME)
    assert f"rm -r {made.python.parent.parent}" in caught.value.hint


def test_pip_that_fails_is_reported_with_its_last_words(toolchains, bases, tmp_path):
    path = base(bases)
    path.write_text("#!/bin/sh\n[ \"$1\" = -c ] && echo 3.11 && exit\necho 'No space left' >&2\nexit 1\n")
    with pytest.raises(ToolchainError, match="No space left"):
        toolchains.get(NAME, ignore)


def test_the_brake_ends_what_makes_it_and_nothing_half_is_left(toolchains, bases, tmp_path):
    pipe, pids = tmp_path / "pid", []
    os.mkfifo(pipe)
    base(bases).write_text(f'#!/bin/sh\n[ "$1" = -c ] && echo 3.11 && exit\necho $$ >{pipe}\nexec sleep 60\n')

    def pull():
        pids.append(int(pipe.read_text()))
        toolchains.brake.pull()

    puller = threading.Thread(target=pull, daemon=True)
    puller.start()
    with pytest.raises(CancelledError):
        toolchains.get(NAME, ignore)
    puller.join()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert not list((tmp_path / "cache/toolchains").glob("lerobot*"))


def test_its_processes_report_to_nobody(toolchains):
    environ = toolchains.host().environment()
    assert environ["CI"] == "true"
    assert environ["NNCF_CI"] == "1"


def test_the_requirement_files_name_no_host_and_pin_everything():
    files = list((Path(edgectl_converters.__file__).parent / "toolchains").rglob("*.txt"))
    assert files
    for file in files:
        for line in file.read_text().splitlines():
            assert "://" not in line, file
            assert not line.startswith(("--index-url", "--extra-index-url", "--find-links")), file
            if line and not line.startswith((" ", "#")):
                assert "==" in line, (file, line)


@pytest.mark.parametrize("name", ["lerobot-0.4", "lerobot-0.6"])
def test_both_lerobots_hold_what_every_supported_policy_needs(name):
    text = (Path(edgectl_converters.__file__).parent / f"toolchains/{name}/libraries.txt").read_text()
    for package in ("transformers", "diffusers", "num2words", "onnxscript", "tokenizers"):
        assert f"\n{package}==" in f"\n{text}", package


def test_its_processes_see_edgectl_and_nothing_else_of_the_host(toolchains, tmp_path):
    toolchains.use(NAME, team(tmp_path / "env"))
    environ = toolchains.get(NAME, ignore).environment()
    code = "import edgectl_converters.worker, sys; print('edgectl_host' in sys.modules)"
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert environ["HF_HUB_OFFLINE"] == "1"
    assert sorted(path.name for path in Path(environ["PYTHONPATH"]).iterdir()) == [
        "edgectl_agent",
        "edgectl_converters",
        "edgectl_protos",
    ]
