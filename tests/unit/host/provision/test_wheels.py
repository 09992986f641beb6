"""Wheels for devices: our own packed from what is installed, others by pip, which is a double here."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgectl_host.provision import wheels
from edgectl_host.provision.survey import Libc
from edgectl_host.provision.wheels import Target, WheelStore, extras_of_agent, pack_installed, requirements_of
from edgectl_protos.domain.errors import InstallError, WheelMissingError
from edgectl_protos.version import VERSION

ORIN = Target("aarch64", Libc("glibc", 2, 35), "3.10")


def wheel(folder: Path, project: str, version: str = "1.0", requires: tuple[str, ...] = ()) -> Path:
    path = folder / f"{project}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        lines = [f"Requires-Dist: {text}" for text in requires]
        head = ["Metadata-Version: 2.1", f"Name: {project}", f"Version: {version}"]
        archive.writestr(f"{project}-{version}.dist-info/METADATA", "\n".join([*head, *lines, ""]))
    return path


class Pip:
    """Answers `pip download` with wheels of a table, by project."""

    def __init__(self, table: dict[str, tuple[str, ...]], says: str = "") -> None:
        self.table = table
        self.says = says
        self.asked: list[list[str]] = []

    def __call__(self, command, **_):
        folder = Path(command[command.index("--dest") + 1])
        self.asked.append(command[command.index("cp") + 1 :])
        if self.says:
            return subprocess.CompletedProcess(command, 1, "", self.says)
        for project, requires in self.table.items():
            if any(word.partition("[")[0].partition(">")[0] == project for word in self.asked[-1]):
                wheel(folder, project, requires=requires)
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def pip(monkeypatch):
    double = Pip({"grpcio": (), "pip": ()})
    monkeypatch.setattr(wheels.subprocess, "run", double)
    return double


def test_platforms_go_down_to_the_oldest_that_the_architecture_has():
    assert ORIN.platforms[0] == "manylinux_2_35_aarch64"
    assert ORIN.platforms[-2:] == ("manylinux_2_17_aarch64", "manylinux2014_aarch64")
    assert Target("x86_64", Libc("glibc", 2, 28), "3.12").platforms[-2] == "manylinux_2_5_x86_64"
    assert Target("aarch64", Libc("musl", 1, 2), "3.12").platforms == (
        "musllinux_1_2_aarch64",
        "musllinux_1_1_aarch64",
        "musllinux_1_0_aarch64",
    )


def test_what_was_resolved_is_taken_again_without_pip(tmp_path, pip):
    store = WheelStore(tmp_path)
    first = store.fetch(ORIN, ("pip", "grpcio"))
    assert [one.project for one in first] == ["grpcio", "pip"]
    assert WheelStore(tmp_path).fetch(ORIN, ("grpcio", "pip")) == first
    assert len(pip.asked) == 1
    assert [path.name for path in tmp_path.glob(".aside-*")] == []


def test_a_wheel_that_was_damaged_or_removed_is_fetched_again(tmp_path, pip):
    store = WheelStore(tmp_path)
    (first,) = store.fetch(ORIN, ("grpcio",))
    store.path(first).write_bytes(b"rot")
    (again,) = store.fetch(ORIN, ("grpcio",))
    assert len(pip.asked) == 2
    assert zipfile.is_zipfile(store.path(again))


def test_another_target_is_resolved_by_itself(tmp_path, pip):
    WheelStore(tmp_path).fetch(ORIN, ("grpcio",))
    WheelStore(tmp_path).fetch(Target("x86_64", Libc("glibc", 2, 36), "3.12"), ("grpcio",))
    assert "manylinux_2_36_x86_64" in pip.asked[1]
    assert "manylinux_2_36_x86_64" not in pip.asked[0]


def test_what_markers_of_the_device_ask_for_is_fetched_too(tmp_path, pip):
    # pip judges by its own Python, and would leave it out on any but 3.10.
    pip.table = {"grpcio": ('backport; python_version < "3.11"', 'other; sys_platform == "win32"'), "backport": ()}
    found = WheelStore(tmp_path).fetch(ORIN, ("grpcio",))
    assert [one.project for one in found] == ["backport", "grpcio"]
    assert [one.project for one in WheelStore(tmp_path).fetch(Target("aarch64", ORIN.libc, "3.12"), ("grpcio",))] == [
        "grpcio"
    ]


def test_extras_of_a_requirement_bring_what_they_need(tmp_path, pip):
    pip.table = {"tool": ('deep; extra == "fast"', 'never; extra == "slow"'), "deep": ()}
    assert [one.project for one in WheelStore(tmp_path).fetch(ORIN, ("tool[fast]",))] == ["deep", "tool"]


def test_a_set_that_is_never_complete_ends(tmp_path, pip):
    pip.table = {"grpcio": ("missing",)}
    with pytest.raises(InstallError, match="still missing missing"):
        WheelStore(tmp_path).fetch(ORIN, ("grpcio",))


def test_a_wheel_that_does_not_exist_is_named_with_its_target(tmp_path, pip):
    pip.says = "ERROR: Could not find a version\nERROR: No matching distribution found for onnxruntime>=9"
    with pytest.raises(
        WheelMissingError, match=r"no wheel of onnxruntime>=9 for aarch64, glibc 2.35, Python 3.10"
    ) as caught:
        WheelStore(tmp_path).fetch(ORIN, ("onnxruntime>=9",))
    assert "--runtime" in caught.value.hint


def test_without_a_network_the_wheelhouse_is_named(tmp_path, pip):
    pip.says = "WARNING: Retrying\nERROR: Could not connect"
    with pytest.raises(InstallError, match="Could not connect") as caught:
        WheelStore(tmp_path).fetch(ORIN, ("grpcio",))
    assert "--wheelhouse DIR" in caught.value.hint


def test_what_an_index_out_of_reach_did_not_give_is_not_said_to_be_missing(tmp_path, pip):
    retrying = "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'ReadTimeoutError'"
    pip.says = f"{retrying}\nERROR: No matching distribution found for onnxruntime>=9"
    with pytest.raises(InstallError, match="could not fetch wheels for .*ReadTimeoutError") as caught:
        WheelStore(tmp_path).fetch(ORIN, ("onnxruntime>=9",))
    assert not isinstance(caught.value, WheelMissingError)


def test_a_wheelhouse_takes_the_place_of_the_index(tmp_path, pip):
    WheelStore(tmp_path / "cache", wheelhouse=tmp_path / "house").fetch(ORIN, ("grpcio",))
    assert pip.asked[0][:3] == ["--no-index", "--find-links", str(tmp_path / "house")]


def test_requirements_are_those_of_the_target():
    light = requirements_of(("trust", "genai"), ORIN)
    assert any(text.startswith("grpcio") for text in light)
    assert not any(text.startswith(("edgectl", "onnxruntime-genai")) or ";" in text for text in light)
    newer = requirements_of(("genai",), Target("aarch64", ORIN.libc, "3.12"))
    assert any(text.startswith("onnxruntime-genai") for text in newer)


def test_extras_are_named_as_runtimes_are():
    extras = extras_of_agent()
    assert "numpy" in extras["tensorrt_rtx"]
    assert extras["tensorrt"] == ("numpy",)


def test_packing_twice_gives_the_same_bytes_and_pip_installs_them(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        for name in ("edgectl-agent", "edgectl-protos"):
            pack_installed(name, folder)
    names = sorted(path.name for path in first.iterdir())
    assert names == [f"edgectl_agent-{VERSION}-py3-none-any.whl", f"edgectl_protos-{VERSION}-py3-none-any.whl"]
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(tmp_path / "in"),
    ]
    subprocess.run([*command, *map(str, first.iterdir())], check=True, capture_output=True)
    asked = [
        sys.executable,
        "-I",
        "-c",
        f"import sys; sys.path.insert(0, {str(tmp_path / 'in')!r}); import edgectl_agent",
    ]
    subprocess.run(asked, check=True)


def test_what_is_not_installed_cannot_be_packed(tmp_path):
    with pytest.raises(InstallError, match="no-such-thing is not installed"):
        pack_installed("no-such-thing", tmp_path)
