"""A runtime is two files of one name, two table lines, two extras and two bindings: its name stands nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgectl_agent.worker.runtimes.registry import RUNTIMES
from edgectl_converters.targets.registry import target

ROOT = Path(__file__).resolve().parents[2]
CODE = ("protos", "device_profiles", "converters", "agent", "host")
TABLES = (
    "converters/edgectl_converters/targets/registry.py",
    "agent/edgectl_agent/worker/runtimes/registry.py",
)
# A plain English word cannot be told from the runtime of that name.
NAMES = sorted(set(RUNTIMES) - {"reference"})


def files_that_name(runtime: str) -> set[str]:
    word = re.compile(rf"\b{re.escape(runtime)}\b", re.IGNORECASE)
    found = set()
    for folder in CODE:
        for path in (ROOT / folder).rglob("*.py"):
            relative = path.relative_to(ROOT).as_posix()
            if "_pb2" not in path.name and "/toolchains/" not in relative and word.search(path.read_text()):
                found.add(relative)
    return found


@pytest.mark.parametrize("runtime", NAMES)
def test_a_runtime_is_named_in_its_own_files_and_the_two_tables_only(runtime):
    own = {
        f"converters/edgectl_converters/targets/{runtime}.py",
        f"agent/edgectl_agent/worker/runtimes/{runtime}.py",
    }
    assert files_that_name(runtime) - own - set(TABLES) == set()


@pytest.mark.parametrize("runtime", NAMES)
def test_a_runtime_has_both_its_files_both_extras_and_both_contract_bindings(runtime):
    assert (ROOT / f"converters/edgectl_converters/targets/{runtime}.py").is_file()
    assert (ROOT / f"agent/edgectl_agent/worker/runtimes/{runtime}.py").is_file()
    for project in ("converters", "agent"):
        # One whose pins need a toolchain has that instead of an extra on the host.
        toolchain = ROOT / f"converters/edgectl_converters/toolchains/{target(runtime).toolchain}/toolchain.json"
        extra = re.search(rf"^{runtime} = \[", (ROOT / project / "pyproject.toml").read_text(), re.MULTILINE)
        assert extra or (project == "converters" and toolchain.is_file())
    for binding, contract in (
        (f"tests/unit/agent/worker/runtimes/test_{runtime}.py", "RuntimeContract"),
        (f"tests/unit/converters/targets/test_{runtime}.py", "TargetContract"),
    ):
        assert contract in (ROOT / binding).read_text()


def test_the_check_itself_finds_a_name():
    assert "agent/edgectl_agent/worker/runtimes/registry.py" in files_that_name(NAMES[0])
