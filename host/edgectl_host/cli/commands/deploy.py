"""`edgectl deploy`: from a checkpoint to a verdict on devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgectl_host.cli.loop import run_workflow
from edgectl_host.cli.options import (
    BYTE_RATE,
    CHECKPOINT,
    fleet_options,
    graph_options,
    json_option,
    loop_options,
    patience_option,
    target_options,
)
from edgectl_host.cli.wiring import Wiring

if TYPE_CHECKING:
    from edgectl_converters.assignment import Choice
    from edgectl_host.workflows.plan import DeployPlan
    from edgectl_host.workflows.rollout import Row


@click.command("deploy")
@click.argument("subject_path", metavar="CHECKPOINT_OR_BUNDLE", type=CHECKPOINT)
@fleet_options
@target_options
@graph_options
@loop_options
@patience_option
@click.option(
    "--limit-rate", "limit_bytes_s", type=BYTE_RATE, metavar="20M", help="Bytes a second, to all devices together."
)
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--no-profile", is_flag=True, help="Install only; do not run the loop.")
@json_option
@click.pass_obj
def command(
    wiring: Wiring,
    subject_path: Path,
    fleet: str,
    labels: tuple[str, ...],
    limit: int | None,
    fleet_file: Path | None,
    runtime: Choice | None,
    scheme: Choice | None,
    task: str,
    footage: Path | None,
    loop_file: Path | None,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    states: tuple[tuple[str, str], ...],
    measure_s: float | None,
    rate_hz: float | None,
    patience_s: float,
    limit_bytes_s: int | None,
    dry_run: bool,
    no_profile: bool,
    json_mode: bool,
) -> None:
    """Convert a policy once per kind of device, install it, prove it there, run the loop, and say if it holds.

    A checkpoint is a policy directory or a graph, see edgectl inspect; a bundle is what edgectl convert wrote.
    """
    from edgectl_host.cli.render.deploy import human_row, human_rows, json_rows
    from edgectl_host.cli.render.plan import human_plan, json_plan
    from edgectl_host.workflows.ask import error_of
    from edgectl_host.workflows.patience import Patience
    from edgectl_host.workflows.plan import make_plan, with_conversions
    from edgectl_host.workflows.progress import Update
    from edgectl_host.workflows.rate_limit import RateLimit
    from edgectl_host.workflows.rollout import Rollout, exit_code_of
    from edgectl_protos.domain.loop import LoopOverrides

    console = wiring.console(json_mode=json_mode)
    devices = wiring.devices(fleet=fleet, labels=labels, limit=limit, fleet_file=fleet_file)
    overrides = None if no_profile else LoopOverrides(rate_hz=rate_hz, measure_s=measure_s)
    subject = wiring.subject(
        subject_path,
        runtime=runtime,
        scheme=scheme,
        task=task,
        footage=footage,
        loop_file=loop_file,
        shapes=shapes,
        states=states,
    )
    with console.progress() as progress:
        for device in devices:
            progress(Update(device.name, "asking the device"))
        if not dry_run:
            wiring.prepare_local(devices, runtime, progress)

        async def planned() -> DeployPlan:
            return await make_plan(subject.name, devices, connect=wiring.connect, choosing=subject.way)

        async def rolled_out() -> tuple[Row, ...]:
            return await rollout.run(await planned())

        if dry_run:
            plan = with_conversions(run_workflow(planned()), converted=subject.converted, steps=subject.steps)
        else:
            runs = wiring.runs()
            rollout = Rollout(
                connect=wiring.connect,
                convert=subject.bundle,
                owner=wiring.config.owner,
                measuring=overrides,
                remember=runs.add_release,
                record=runs.add,
                patience=Patience(patience_s),
                progress=progress,
                limit=RateLimit(limit_bytes_s) if limit_bytes_s is not None else None,
            )
            rows = run_workflow(rolled_out())
    if dry_run:
        console.show(human_plan(plan, console.width))
        console.show_json(json_plan(plan))
        return
    if len(rows) == 1 and rows[0].failure is not None and rows[0].record is None:
        raise error_of(rows[0].failure)
    if len(rows) == 1:
        facts = rows[0].plan.facts
        measured = wiring.rates().of(facts.machine_id) if facts is not None else {}
        console.show(human_row(rows[0], console.width, measured))
    else:
        console.show(human_rows(rows))
    console.show_json(json_rows(rows))
    click.get_current_context().exit(exit_code_of(rows))
