"""Tables that must agree with each other: documents with errors, runtimes on both sides."""

from __future__ import annotations

from pathlib import Path

from edgectl_agent.worker.runtimes import registry as runtimes
from edgectl_converters.targets import registry as targets
from edgectl_profiles import library
from edgectl_protos.domain import errors
from edgectl_testkit.documents import check_section

ROOT = Path(__file__).resolve().parents[2]


def test_the_exit_codes_of_the_documentation_are_those_of_the_errors():
    rows = sorted((cls.exit_code, cls.reason, (cls.__doc__ or "").split("\n")[0]) for cls in errors.all_errors())
    table = "| code | reason | meaning |\n|---|---|---|\n"
    table += "".join(f"| {code} | `{reason}` | {meaning} |\n" for code, reason, meaning in rows)
    check_section(ROOT / "docs/exit-codes.md", "errors", table)


def test_every_target_has_its_runtime_on_the_device():
    assert set(targets.TARGETS) == set(runtimes.RUNTIMES)


def test_what_a_board_says_to_a_runtime_is_read_by_its_target():
    for board in map(library.load, library.names()):
        for runtime in board.runtimes:
            if runtime.name in targets.TARGETS:
                assert set(runtime.options) <= set(targets.target(runtime.name).reads_options), board.board
