"""`edgectl convert`: bundles of a checkpoint, each of its components for one runtime in one scheme."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgectl_host.cli.loop import run_workflow
from edgectl_host.cli.options import (
    BOARDS,
    SIZE,
    checkpoint_argument,
    graph_options,
    json_option,
    target_options,
)
from edgectl_host.cli.wiring import Wiring

if TYPE_CHECKING:
    from edgectl_converters.assignment import Assignment, Choice
    from edgectl_host.cli.console import Console
    from edgectl_host.workflows.convert import Subject


@click.command("convert")
@checkpoint_argument
@target_options
@graph_options
@click.option(
    "--for",
    "--board",
    "boards",
    type=BOARDS,
    default="",
    metavar="BOARD,BOARD",
    help="The boards to convert for, several at once; default: this machine.",
)
@click.option("--memory", "memory_bytes", type=SIZE, metavar="8GB", help="What conversions may take together.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Copy the bundle there.")
@click.option("--dry-run", is_flag=True, help="Print the steps and change nothing.")
@json_option
@click.pass_obj
def command(
    wiring: Wiring,
    checkpoint: Path,
    runtime: Choice | None,
    scheme: Choice | None,
    task: str,
    footage: Path | None,
    loop_file: Path | None,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    states: tuple[tuple[str, str], ...],
    boards: tuple[str, ...],
    memory_bytes: int | None,
    output: Path | None,
    dry_run: bool,
    json_mode: bool,
) -> None:
    """Convert a checkpoint into a bundle, its gates passed; `edgectl deploy BUNDLE` takes it from there.

    With several boards, each distinct bundle is made once, as many at a time as memory allows, past those that fail.
    """
    console = wiring.console(json_mode=json_mode)
    with console.busy(checkpoint.name, "reading"):
        subject = wiring.subject(
            checkpoint,
            runtime=runtime,
            scheme=scheme,
            task=task,
            footage=footage,
            loop_file=loop_file,
            shapes=shapes,
            states=states,
        )
    if len(boards) > 1:
        again = [sys.executable, "-m", "edgectl_host", "convert", str(checkpoint)]
        again += ["--task", task] if task else []
        again += ["--footage", str(footage)] if footage else []
        again += ["--loop", str(loop_file)] if loop_file else []
        for name, sizes in shapes:
            again += ["--shape", f"{name}={'x'.join(map(str, sizes))}"]
        for into, out in states:
            again += ["--state", f"{into}={out}" if out else into]
        _many(console, subject, boards, again, memory_bytes, output, dry_run=dry_run)
        return
    _one(console, subject, boards[0] if boards else wiring.generic_board(), output, dry_run=dry_run)


def _one(console: Console, subject: Subject, board: str, output: Path | None, *, dry_run: bool) -> None:
    from edgectl_converters.bundle import check_place
    from edgectl_host.cli.render.checkpoint import human_bundle, json_bundle
    from edgectl_host.cli.render.conversion import human_conversions, human_floors, json_conversions
    from edgectl_host.fleet.inventory import Device
    from edgectl_host.workflows.convert import copied

    if output is not None:
        check_place(output)
    with console.progress() as progress:
        way = subject.way(Device("this machine", board=board), None)
        if dry_run:
            plans = tuple(filter(None, (subject.steps(way.assignment),)))
        else:
            bundle = run_workflow(subject.bundle(way.assignment, progress))
            bundle = copied(bundle, output) if output is not None else bundle
    if dry_run:
        console.show(human_conversions(plans, console.width), human_floors([way], console.width))
        console.show_json(json_conversions(plans, [way]))
        return
    console.show(human_bundle(bundle))
    console.show_json(json_bundle(bundle))


def _many(
    console: Console,
    subject: Subject,
    boards: tuple[str, ...],
    again: list[str],
    memory_bytes: int | None,
    output: Path | None,
    *,
    dry_run: bool,
) -> None:
    from edgectl_converters.bundle import check_place
    from edgectl_host.cli.render.boards import human_rows, json_rows
    from edgectl_host.cli.render.conversion import human_conversions, human_floors, json_conversions
    from edgectl_host.machine import free_memory_bytes
    from edgectl_host.workflows.ask import exit_code_of_failures
    from edgectl_host.workflows.convert import copied
    from edgectl_host.workflows.convert_boards import convert_boards, plan_boards

    def command_of(board: str, assignment: Assignment) -> list[str]:
        chosen = ["--for", board, "--runtime", str(assignment.runtime), "--scheme", str(assignment.scheme), "--json"]
        return [*again, *chosen]

    with console.progress() as progress:
        rows = plan_boards(subject, boards)
        if output is not None:
            for row in rows:
                check_place(output / row.board)
        if not dry_run:
            budget = memory_bytes if memory_bytes is not None else free_memory_bytes()
            jobs = os.cpu_count() or 1
            rows = run_workflow(
                convert_boards(subject, rows, command_of, memory_bytes=budget, jobs=jobs, progress=progress)
            )
            for row in rows:
                if output is not None and row.bundle is not None:
                    copied(row.bundle, output / row.board)
    ways = [row.way for row in rows if row.way is not None]
    if dry_run:
        distinct = dict.fromkeys(way.assignment for way in ways)
        plans = tuple(filter(None, (subject.steps(assignment) for assignment in distinct)))
        console.show(human_conversions(plans, console.width), human_floors(ways, console.width))
        console.show_json(json_conversions(plans, ways))
    else:
        console.show(human_rows(rows))
        console.show_json(json_rows(rows))
    click.get_current_context().exit(exit_code_of_failures([row.failure for row in rows]))
