"""`edgectl demo`: the example policy, on this machine, several times side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgectl_host.cli.options import FOOTAGE, json_option, loop_options, task_option
from edgectl_host.cli.wiring import Wiring

if TYPE_CHECKING:
    from edgectl_host.workflows.bundle import Convert
    from edgectl_host.workflows.progress import Progress

_MEASURE_S = 3.0
"""90 ticks at 30 Hz, what a p95 needs: four runs and their installs take less than 20 s."""


@click.command("demo")
@click.option("--policy", type=FOOTAGE, metavar="DIR", help="Another policy than the example.")
@click.option("--footage", type=FOOTAGE, metavar="DIR", help="Its recorded observations.")
@task_option
@loop_options
@json_option
@click.pass_obj
def command(
    wiring: Wiring,
    policy: Path | None,
    footage: Path | None,
    task: str,
    measure_s: float | None,
    rate_hz: float | None,
    json_mode: bool,
) -> None:
    """Convert the example policy for every runtime that has fp32 and int8 here, deploy and run each."""
    from edgectl_host.cli.render.demo import human_demo, json_demo
    from edgectl_host.fleet.inventory import LOCAL, Device
    from edgectl_host.workflows.demo import find_example, run_demo
    from edgectl_host.workflows.rollout import Rollout
    from edgectl_protos.domain.loop import LoopOverrides

    console = wiring.console(json_mode=json_mode)
    if policy is None:
        example = find_example((Path.cwd(), Path(__file__).resolve().parents[4]))
        policy, footage = example / "policy", footage or example / "footage"
    subject = wiring.subject(policy, footage=footage, task=task)
    runs = wiring.runs()
    overrides = LoopOverrides(rate_hz=rate_hz, measure_s=measure_s or _MEASURE_S)

    def rollout(convert: Convert, progress: Progress) -> Rollout:
        return Rollout(
            connect=wiring.connect,
            convert=convert,
            owner=wiring.config.owner,
            measuring=overrides,
            remember=runs.add_release,
            record=runs.add,
            progress=progress,
        )

    with console.progress() as progress:
        result = run_demo(subject, Device(LOCAL), connect=wiring.connect, rollout=rollout, progress=progress)
    console.show(human_demo(subject.name, result, console.width))
    console.show_json(json_demo(result))
    click.get_current_context().exit(0 if result.best is not None else 1)
