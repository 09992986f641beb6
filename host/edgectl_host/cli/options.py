"""Options that commands share, and the words that their values are written in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgectl_protos.domain.artifact import Precision
from edgectl_protos.domain.errors import LoopSpecError

__all__ = [
    "CHECKPOINT",
    "DURATION",
    "FOOTAGE",
    "LOOP",
    "PRECISION",
    "RATE",
    "checkpoint_argument",
    "fleet_options",
    "json_option",
    "loop_options",
    "target_options",
]

F = TypeVar("F", bound=Callable[..., Any])


class _Duration(click.ParamType[float]):
    """`20s`, `500ms`, `2min`: with its unit, as in a loop file."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from edgectl_converters.loop_file import parse_duration_s

        try:
            return parse_duration_s(str(value))
        except LoopSpecError as exc:
            self.fail(exc.message, param, ctx)


class _Rate(click.ParamType[float]):
    """`30Hz`: with its unit, as in a loop file."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from edgectl_converters.loop_file import parse_rate_hz

        try:
            return parse_rate_hz(str(value))
        except LoopSpecError as exc:
            self.fail(exc.message, param, ctx)


class _Precision(click.Choice[str]):
    """A precision of the domain."""

    name = "precision"

    def __init__(self) -> None:
        super().__init__([precision.value for precision in Precision])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return Precision(super().convert(value, param, ctx))


DURATION = _Duration()
RATE = _Rate()
PRECISION = _Precision()
CHECKPOINT = click.Path(path_type=Path)
FOOTAGE = click.Path(path_type=Path, exists=True, file_okay=False)
LOOP = click.Path(path_type=Path, exists=True, dir_okay=False)

json_option = click.option(
    "--json",
    "json_mode",
    is_flag=True,
    help="One JSON document on standard output; progress on standard error.",
)
checkpoint_argument = click.argument("checkpoint", type=CHECKPOINT)


def fleet_options(command: F) -> F:
    """Which devices: --fleet, -l, --limit, --fleet-file."""
    options = (
        click.option("--fleet", default="local", show_default=True, metavar="NAME", help="A group, a device, or all."),
        click.option(
            "-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Only these; also KEY!=VALUE."
        ),
        click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N devices."),
        click.option(
            "--fleet-file",
            type=click.Path(path_type=Path),
            metavar="PATH",
            help="Default: ./fleet.yaml, then the one in the config directory.",
        ),
    )
    return _all(command, options)


def target_options(command: F) -> F:
    """What to convert to: --runtime, --precision, --footage, --loop."""
    options = (
        click.option("--runtime", metavar="NAME", help="onnxrt, openvino or reference; default: by the board."),
        click.option("--precision", type=PRECISION, help="Default: by the board."),
        click.option("--footage", type=FOOTAGE, metavar="DIR", help="Recorded observations, one file a feature."),
        click.option("--loop", "loop_file", type=LOOP, metavar="FILE", help="An edited loop: edgectl init."),
    )
    return _all(command, options)


def loop_options(command: F) -> F:
    """How to measure: --measure, --rate."""
    options = (
        click.option("--measure", "measure_s", type=DURATION, metavar="20s", help="Time measured after warm-up."),
        click.option("--rate", "rate_hz", type=RATE, metavar="30Hz", help="Another rate than the loop's own."),
    )
    return _all(command, options)


def _all(command: F, options: tuple[Callable[[F], F], ...]) -> F:
    for option in reversed(options):
        command = option(command)
    return command
