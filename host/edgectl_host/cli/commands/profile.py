"""`edgectl profile`: the installed loop, measured again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgectl_host.cli.loop import run_workflow
from edgectl_host.cli.options import fleet_options, json_option, loop_options, patience_option
from edgectl_host.cli.wiring import Wiring

if TYPE_CHECKING:
    from edgectl_host.runs.record import RunRecord
    from edgectl_host.transport.base import DeviceClient


@click.command("profile")
@fleet_options
@loop_options
@patience_option
@click.option("--mode", type=click.Choice(["paced", "closed"]), help="closed: as fast as it goes, and no verdict.")
@click.option("--threads", type=click.IntRange(min=0), metavar="N", help="Of the runtime; 0: one per core.")
@click.option("--samples", is_flag=True, help="Fetch the samples (.npz) as well.")
@json_option
@click.pass_obj
def command(
    wiring: Wiring,
    fleet: str,
    labels: tuple[str, ...],
    limit: int | None,
    fleet_file: Path | None,
    measure_s: float | None,
    rate_hz: float | None,
    patience_s: float,
    mode: str | None,
    threads: int | None,
    samples: bool,
    json_mode: bool,
) -> None:
    """Run the installed loop and judge it. Devices of one machine take turns."""
    from edgectl_host.cli.render.runs import human_run
    from edgectl_host.cli.render.verdicts import human_answers, json_answers
    from edgectl_host.runs.record import worst_exit_code
    from edgectl_host.workflows.ask import error_of, exit_code_of_failures
    from edgectl_host.workflows.patience import Patience
    from edgectl_host.workflows.profile import fetch_samples, measure_all
    from edgectl_protos.domain.loop import LoopOverrides, Mode

    console = wiring.console(json_mode=json_mode)
    devices = wiring.devices(fleet=fleet, labels=labels, limit=limit, fleet_file=fleet_file)
    runs = wiring.runs()

    async def keep(client: DeviceClient, record: RunRecord) -> RunRecord:
        if samples:
            record = await fetch_samples(client, record, wiring.config.samples_dir)
        runs.add(record)
        return record

    with console.progress() as progress:
        answers = run_workflow(
            measure_all(
                devices,
                LoopOverrides(rate_hz=rate_hz, measure_s=measure_s, mode=Mode(mode) if mode else None, threads=threads),
                connect=wiring.connect,
                owner=wiring.config.owner,
                manifest_of=runs.release,
                keep=keep,
                patience=Patience(patience_s),
                progress=progress,
            )
        )
    if len(answers) == 1 and answers[0].failure is not None:
        raise error_of(answers[0].failure)
    only = answers[0].value if len(answers) == 1 else None
    measured = wiring.rates().of(only.summary.facts.machine_id) if only else {}
    console.show(human_run(only, console.width, measured) if only else human_answers(answers))
    console.show_json(json_answers(answers))
    code = exit_code_of_failures([answer.failure for answer in answers])
    click.get_current_context().exit(code or worst_exit_code(answer.value for answer in answers if answer.value))
