"""The one event loop of the process: open files, and what a workflow returns."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from edgectl_host.cli.loop import run_workflow

CODE = """
import resource
from edgectl_host.cli.loop import run_workflow

async def limits():
    return resource.getrlimit(resource.RLIMIT_NOFILE)

print(*run_workflow(limits()))
"""


def under(soft: int, hard: int) -> tuple[str, str]:
    """What a process with these limits has in the end, and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize(("hard", "wanted"), [(1024, 1024), (4096, 4096)])
def test_open_files_are_allowed_as_far_as_the_system_lets(hard, wanted):
    assert under(256, hard) == (f"{wanted} {hard}", "")


def test_too_few_open_files_are_told_with_the_command_that_helps():
    limits, said = under(128, 256)
    assert limits == "256 256"
    assert said == "edgectl: only 256 files may be open at once; for large fleets: ulimit -n 512\n"


def test_a_limit_that_is_high_enough_stays():
    assert under(8192, 8192) == ("8192 8192", "")


def test_what_a_workflow_returns_or_raises_is_returned_or_raised():
    async def returns():
        return 7

    async def fails():
        raise ZeroDivisionError

    assert run_workflow(returns()) == 7
    with pytest.raises(ZeroDivisionError):
        run_workflow(fails())
