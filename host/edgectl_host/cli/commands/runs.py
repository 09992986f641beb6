"""`edgectl runs`: the runs measured so far, those included that finished while this host was away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgectl_host.cli.loop import run_workflow
from edgectl_host.cli.options import json_option
from edgectl_host.cli.wiring import Wiring
from edgectl_protos.domain.errors import UsageError

if TYPE_CHECKING:
    from edgectl_host.runs.record import RunRecord
    from edgectl_host.transport.base import DeviceClient
    from edgectl_host.workflows.ask import Answer
    from edgectl_host.workflows.collect import Collected
    from edgectl_protos.domain.run import Run

_FLEET_FILE = click.option(
    "--fleet-file", type=click.Path(path_type=Path), metavar="PATH", help="As for edgectl deploy."
)


@click.group("runs", invoke_without_command=True)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, metavar="N")
@click.option("--device", metavar="NAME", help="Only runs on this device.")
@click.option("--fleet", metavar="NAME", help="First fetch what these devices hold and this host lacks.")
@_FLEET_FILE
@json_option
@click.pass_context
def command(
    context: click.Context,
    limit: int,
    device: str | None,
    fleet: str | None,
    fleet_file: Path | None,
    json_mode: bool,
) -> None:
    """Runs measured so far, newest first. A run goes on when its host is gone: --fleet fetches it afterwards."""
    if context.invoked_subcommand is not None:
        return
    from edgectl_host.cli.render.runs import human_runs, json_runs
    from edgectl_host.workflows.ask import exit_code_of_failures
    from edgectl_host.workflows.collect import collect_all

    wiring: Wiring = context.obj
    console = wiring.console(json_mode=json_mode)
    runs = wiring.runs()

    async def keep(client: DeviceClient, record: RunRecord) -> RunRecord:
        runs.add(record)
        return record

    answers: tuple[Answer[Collected], ...] = ()
    if fleet is not None:
        devices = wiring.devices(fleet=fleet, labels=(), limit=None, fleet_file=fleet_file)
        with console.progress() as progress:
            answers = run_workflow(
                collect_all(
                    devices,
                    connect=wiring.connect,
                    knows=runs.has,
                    manifest_of=runs.release,
                    keep=keep,
                    progress=progress,
                )
            )
    rows = runs.list(limit=limit, device=device)
    console.show(human_runs(rows, answers, device=device))
    console.show_json(json_runs(rows, answers))
    context.exit(exit_code_of_failures([answer.failure for answer in answers]))


@command.command("show")
@click.argument("run", metavar="ID")
@json_option
@click.pass_obj
def show(wiring: Wiring, run: str, json_mode: bool) -> None:
    """One run again: its id, the beginning of it, or `last`."""
    from edgectl_host.cli.render.runs import human_run, json_run

    console = wiring.console(json_mode=json_mode)
    record = wiring.runs().get(run)
    measured = wiring.rates().of(record.summary.facts.machine_id)
    console.show(human_run(record, console.width, measured))
    console.show_json(json_run(record, measured))


@command.command("cancel")
@click.argument("run", metavar="ID")
@click.option("--fleet", default="local", show_default=True, metavar="NAME", help="The device that it runs on.")
@_FLEET_FILE
@json_option
@click.pass_obj
def cancel(wiring: Wiring, run: str, fleet: str, fleet_file: Path | None, json_mode: bool) -> None:
    """End a run on its device; one that is over stays as it is."""
    from edgectl_host.cli.render.runs import human_ended, json_ended
    from edgectl_host.workflows.ask import ask_all, error_of

    console = wiring.console(json_mode=json_mode)
    devices = wiring.devices(fleet=fleet, labels=(), limit=None, fleet_file=fleet_file)
    if len(devices) != 1:
        raise UsageError(f"{fleet} has {len(devices)} devices; a run is on one", hint="name it: --fleet DEVICE")

    async def question(client: DeviceClient) -> Run:
        return await client.cancel_run(run)

    with console.busy(run, "ending"):
        (answer,) = run_workflow(ask_all(devices, wiring.connect, question))
    if answer.value is None:
        assert answer.failure is not None
        raise error_of(answer.failure)
    console.show(human_ended(answer.device.name, answer.value))
    console.show_json(json_ended(answer.device.name, answer.value))
