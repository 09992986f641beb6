"""`edgectl compare`: whether B is slower than A on one device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgectl_host.cli.loop import run_workflow
from edgectl_host.cli.options import (
    FOOTAGE,
    LOOP,
    SHARE,
    json_option,
    loop_options,
    patience_option,
    task_option,
    word_options,
)
from edgectl_host.cli.wiring import Wiring

if TYPE_CHECKING:
    from edgectl_converters.assignment import Choice

_MEASURE_S = 4.0
"""Five blocks of it are 600 ticks at 30 Hz; a p99 needs 459."""


@click.command("compare")
@click.argument("names", metavar="A [B]", nargs=-1, required=True)
@word_options
@task_option
@click.option("--footage", type=FOOTAGE, metavar="DIR", help="Recorded observations, for checkpoints.")
@click.option("--loop", "loop_file", type=LOOP, metavar="FILE", help="An edited loop, for checkpoints.")
@click.option("--fleet", default="local", show_default=True, metavar="NAME", help="One device.")
@click.option("--fleet-file", type=click.Path(path_type=Path), metavar="PATH", help="As for edgectl deploy.")
@click.option(
    "--blocks", type=click.IntRange(min=5, max=100), default=5, show_default=True, help="Of each, one after the other."
)
@click.option(
    "--threshold", type=SHARE, default="2%", show_default=True, metavar="2%", help="A smaller change does not matter."
)
@loop_options
@patience_option
@json_option
@click.pass_obj
def command(
    wiring: Wiring,
    names: tuple[str, ...],
    runtimes: tuple[Choice, ...],
    schemes: tuple[Choice, ...],
    task: str,
    footage: Path | None,
    loop_file: Path | None,
    fleet: str,
    fleet_file: Path | None,
    blocks: int,
    threshold: float,
    measure_s: float | None,
    rate_hz: float | None,
    patience_s: float,
    json_mode: bool,
) -> None:
    """Run A and B in turns on one device, and say whether B is slower, with intervals.

    A and B are checkpoints, bundles, or what the device has: installed, previous. One checkpoint is compared with
    itself where --scheme or --runtime is given twice, for A and for B. What was installed for it stays installed.
    Exit codes: 0 B is not slower, 1 it is, 3 not shown.
    """
    from edgectl_host.cli.render.compare import human_comparison, json_comparison
    from edgectl_host.workflows.compare import ON_DEVICE, Side, run_compare
    from edgectl_host.workflows.patience import Patience
    from edgectl_protos.domain.errors import UsageError
    from edgectl_protos.domain.loop import LoopOverrides

    if len(names) > 2 or max(len(names), len(runtimes), len(schemes)) < 2:
        raise UsageError(
            f"two are compared, not {', '.join(names)}",
            hint="edgectl compare BUNDLE BUNDLE, or edgectl compare CHECKPOINT --scheme fp32 --scheme int8",
        )
    console = wiring.console(json_mode=json_mode)
    devices = wiring.devices(fleet=fleet, labels=(), limit=None, fleet_file=fleet_file)
    if len(devices) != 1:
        raise UsageError(
            f"{fleet} has {len(devices)} devices; what is compared runs on one", hint="name it: --fleet DEVICE"
        )

    def side(index: int) -> Side:
        name = names[min(index, len(names) - 1)]
        if name in ON_DEVICE and not Path(name).exists():
            return Side(name)
        runtime, scheme = (words[min(index, len(words) - 1)] if words else None for words in (runtimes, schemes))
        subject = wiring.subject(
            Path(name), runtime=runtime, scheme=scheme, task=task, footage=footage, loop_file=loop_file
        )
        return Side(name, subject)

    sides = [side(0), side(1)]
    runs = wiring.runs()
    with console.progress() as progress:
        comparison = run_workflow(
            run_compare(
                sides,
                devices[0],
                LoopOverrides(rate_hz=rate_hz, measure_s=measure_s or _MEASURE_S),
                blocks=blocks,
                threshold=threshold,
                connect=wiring.connect,
                owner=wiring.config.owner,
                remember=runs.add_release,
                manifest_of=runs.release,
                patience=Patience(patience_s),
                progress=progress,
            )
        )
    console.show(human_comparison(comparison))
    console.show_json(json_comparison(comparison))
    click.get_current_context().exit(comparison.exit_code)
