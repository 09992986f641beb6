"""`edgectl demo`: the example policy, on this machine, several times side by side."""

from __future__ import annotations

from pathlib import Path

import click

from edgectl_host.cli.loop import run_workflow
from edgectl_host.cli.options import FOOTAGE, json_option, loop_options, patience_option, task_option
from edgectl_host.cli.wiring import Wiring

_MEASURE_S = 12.5
"""375 ticks at 30 Hz, in all blocks together: enough to decide the p95 of a loop without late ticks."""


@click.command("demo")
@click.option("--policy", type=FOOTAGE, metavar="DIR", help="Another policy than the example.")
@click.option("--footage", type=FOOTAGE, metavar="DIR", help="Its recorded observations.")
@task_option
@loop_options
@patience_option
@json_option
@click.pass_obj
def command(
    wiring: Wiring,
    policy: Path | None,
    footage: Path | None,
    task: str,
    measure_s: float | None,
    rate_hz: float | None,
    patience_s: float,
    json_mode: bool,
) -> None:
    """Convert the example policy for every runtime that has fp32 and int8 here, and run all of them in turns.

    --measure is the time of each, in all of its blocks together.
    """
    from edgectl_host.cli.render.demo import human_demo, json_demo
    from edgectl_host.fleet.inventory import LOCAL, Device
    from edgectl_host.workflows.demo import DEMO_BLOCKS, find_example, run_demo
    from edgectl_host.workflows.patience import Patience
    from edgectl_protos.domain.loop import LoopOverrides

    console = wiring.console(json_mode=json_mode)
    if policy is None:
        example = find_example((Path.cwd(), Path(__file__).resolve().parents[4]))
        policy, footage = example / "policy", footage or example / "footage"
    subject = wiring.subject(policy, footage=footage, task=task)
    with console.progress() as progress:
        result = run_workflow(
            run_demo(
                subject,
                Device(LOCAL),
                LoopOverrides(rate_hz=rate_hz, measure_s=(measure_s or _MEASURE_S) / DEMO_BLOCKS),
                connect=wiring.connect,
                owner=wiring.config.owner,
                remember=wiring.runs().add_release,
                patience=Patience(patience_s),
                progress=progress,
            )
        )
    console.show(human_demo(subject.name, result))
    console.show_json(json_demo(result))
    click.get_current_context().exit(0 if result.ranked else 1)
