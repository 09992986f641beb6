from __future__ import annotations

import sys

import pytest

from edgectl_converters.pythons import PythonSearch

OWN = "{}.{}".format(*sys.version_info)


def interpreter(path, version="3.97", status=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version}\nexit {status}\n")
    path.chmod(0o755)
    return path


def search(home, **more):
    return PythonSearch(home, **{"system": (), **more})


@pytest.mark.parametrize(
    "place",
    [
        ".pyenv/versions/3.97.4/bin",
        ".local/share/uv/python/cpython-3.97.1-linux-x86_64-gnu/bin",
        ".asdf/installs/python/3.97.0/bin",
        ".local/share/mise/installs/python/3.97.2/bin",
        "miniconda3/bin",
        "miniforge3/envs/robots/bin",
    ],
)
def test_interpreters_are_found_where_version_managers_keep_them(tmp_path, place):
    python = interpreter(tmp_path / place / "python3.97")
    assert search(tmp_path).find("3.97") == python
    assert search(tmp_path).find("3.96") is None


def test_path_conda_and_system_folders_are_parameters(tmp_path):
    python = interpreter(tmp_path / "there/bin/python3.97")
    home = tmp_path / "home"
    assert search(home).find("3.97") is None
    assert search(home, path=(tmp_path / "there/bin",)).find("3.97") == python
    assert search(home, conda=(tmp_path / "there",)).find("3.97") == python
    assert search(home, system=(tmp_path / "there/bin",)).find("3.97") == python


def test_a_shim_that_does_not_run_and_one_that_lies_are_passed_over(tmp_path):
    interpreter(tmp_path / "shims/python3.97", status=127)
    interpreter(tmp_path / "liar/python3.97", version="3.12")
    good = interpreter(tmp_path / ".pyenv/versions/3.97.0/bin/python3.97")
    assert search(tmp_path, path=(tmp_path / "shims", tmp_path / "liar")).find("3.97") == good


def test_the_newest_patch_is_taken(tmp_path):
    for patch in ("9", "10", "2"):
        interpreter(tmp_path / f".pyenv/versions/3.97.{patch}/bin/python3.97")
    assert "3.97.10" in str(search(tmp_path).find("3.97"))


def test_this_process_own_version_comes_first(tmp_path):
    interpreter(tmp_path / f"python{OWN}", version=OWN)
    assert search(tmp_path, path=(tmp_path,)).find(OWN) != tmp_path / f"python{OWN}"
    assert search(tmp_path, path=(tmp_path,), own=False).find(OWN) == tmp_path / f"python{OWN}"
