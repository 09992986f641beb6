"""Making an environment, with a Python that is a script: what it says when it fails is what people are shown."""

from __future__ import annotations

import pytest

from edgectl_converters.brake import Brake
from edgectl_converters.environment import make_environment
from edgectl_converters.recipe import Recipe
from edgectl_protos.domain.errors import DiskFullError, ToolchainError

RECIPE = Recipe("tool", "3.12", "a minute, 2 GB", ("six",), ("six",), (("installing", ("six",)),), {}, "0" * 64)
WARNING = "WARNING: Location 'file:///wheels' is ignored: it is either a non-existing path or lacks a scheme."


def made(tmp_path, says):
    """With a Python that makes a folder whose own Python says this and fails."""
    (tmp_path / "says").write_text(says)
    failing = tmp_path / "failing"
    failing.write_text(f"#!/bin/sh\ncat {tmp_path}/says >&2\nexit 1\n")
    failing.chmod(0o755)
    base = tmp_path / "base"
    base.write_text(f'#!/bin/sh\nmkdir -p "$3/bin" && ln -s {failing} "$3/bin/python"\n')
    base.chmod(0o755)
    return make_environment(RECIPE, base, tmp_path / "env", tmp_path / "bridge", lambda _: None, Brake())


def test_a_failure_shows_the_error_of_pip_and_not_its_warnings(tmp_path):
    with pytest.raises(ToolchainError, match="toolchain failed: No matching distribution found for six$") as caught:
        made(tmp_path, "ERROR: No matching distribution found for six\n" + f"{WARNING}\n" * 4)
    assert "edgectl toolchain use tool" in caught.value.hint
    assert not (tmp_path / "env").exists()


def test_a_full_disk_is_said_with_the_folder_and_nothing_half_is_left(tmp_path):
    with pytest.raises(DiskFullError, match="no room for the tool toolchain, which takes a minute, 2 GB") as caught:
        made(
            tmp_path,
            f"ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n{WARNING}",
        )
    assert caught.value.message.startswith(str(tmp_path / "env"))
    assert f"df -h {tmp_path}" in caught.value.hint
    assert not (tmp_path / "env").exists()
