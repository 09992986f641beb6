"""Options that commands share, and the words that their values are written in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgectl_host.quantities import parse_age_s, parse_byte_rate, parse_bytes, parse_share
from edgectl_protos.domain.errors import EdgectlError

__all__ = [
    "AGE",
    "BOARDS",
    "BYTE_RATE",
    "CHECKPOINT",
    "DURATION",
    "FOOTAGE",
    "LOOP",
    "RATE",
    "SHARE",
    "SIZE",
    "checkpoint_argument",
    "declared_of",
    "everywhere_options",
    "fleet_options",
    "graph_options",
    "json_option",
    "loop_options",
    "patience_option",
    "target_options",
    "task_option",
    "word_options",
]

if TYPE_CHECKING:
    from edgectl_converters.assignment import Choice
    from edgectl_converters.card import Declared

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class _Parsed(click.ParamType[T]):
    """A quantity with its unit. What cannot be read is refused with the form in which it is written."""

    def __init__(self, name: str, parse: Callable[[str], T]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> T:
        try:
            return self._parse(str(value))
        except EdgectlError as exc:
            self.fail(exc.message, param, ctx)


def _duration_s(text: str) -> float:
    from edgectl_converters.loop_file import parse_duration_s

    return parse_duration_s(text)


def _rate_hz(text: str) -> float:
    from edgectl_converters.loop_file import parse_rate_hz

    return parse_rate_hz(text)


class _Words(click.ParamType["Choice"]):
    """`int8`, or `vision=int8,bf16`: one word for every component, or words for those that are named."""

    name = "words"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Choice:
        from edgectl_converters.assignment import Choice

        try:
            return Choice.parse(str(value))
        except EdgectlError as exc:
            self.fail(exc.message, param, ctx)


class _Scheme(_Words):
    """Words that are schemes."""

    name = "scheme"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Choice:
        from edgectl_protos.domain.artifact import check_scheme

        choice = super().convert(value, param, ctx)
        try:
            for word in choice.words:
                check_scheme(word)
        except EdgectlError as exc:
            self.fail(f"{exc.message}; {exc.hint}", param, ctx)
        return choice


class _Shape(click.ParamType["tuple[str, tuple[int, ...]]"]):
    """`images=1x3x480x640`: an input and its sizes."""

    name = "shape"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        name, _, text = str(value).rpartition("=")
        sizes = [size for size in text.lower().replace("×", "x").split("x") if size]
        if not name or not all(size.isdecimal() and 0 < int(size) < 1 << 31 for size in sizes):
            self.fail(f"{value!r} is no shape: write INPUT=1x3x480x640", param, ctx)
        return name, tuple(map(int, sizes))


class _State(click.ParamType["tuple[str, str]"]):
    """`h_in=h_out`: an input, and the output that is fed back to it; `none`."""

    name = "state"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        into, _, out = str(value).partition("=")
        if (into, out) != ("none", "") and not (into and out):
            self.fail(f"{value!r} is no state: write INPUT=OUTPUT, or none", param, ctx)
        return into, out


class _Boards(click.ParamType["tuple[str, ...]"]):
    """`rpi5,pixel-9`: names of boards."""

    name = "boards"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(dict.fromkeys(filter(None, (name.strip() for name in str(value).split(",")))))


DURATION = _Parsed("duration", _duration_s)
"""`20s`, `500ms`, `2min`, as in a loop file."""
RATE = _Parsed("rate", _rate_hz)
"""`30Hz`, as in a loop file."""
AGE = _Parsed("age", parse_age_s)
"""`30d`, `12h`: in seconds."""
SHARE = _Parsed("share", parse_share)
"""`2%`."""
SIZE = _Parsed("size", parse_bytes)
"""`10GB`, `500MB`: decimal units."""
BYTE_RATE = _Parsed("bytes a second", parse_byte_rate)
"""`20M`, `500k`."""
BOARDS = _Boards()
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
task_option = click.option("--task", metavar="TEXT", default="", help="The instruction, for a policy that takes one.")


def fleet_options(command: F) -> F:
    """Which devices: --fleet, -l, --limit, --fleet-file; the embedded agent when nothing is said."""
    return _fleet_options(command, default="local")


def everywhere_options(command: F) -> F:
    """The same; every device when nothing is said."""
    return _fleet_options(command, default="all")


def _fleet_options(command: F, *, default: str) -> F:
    options = (
        click.option("--fleet", default=default, show_default=True, metavar="NAME", help="A group, a device, or all."),
        click.option(
            "-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Only these; also KEY!=VALUE, or KEY."
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
    """What to convert to: --runtime, --scheme, --task, --footage, --loop."""
    options = (
        click.option(
            "--runtime",
            type=_Words(),
            metavar="TEXT",
            help="NAME, or COMPONENT=NAME,NAME. Default: the first of the board's order that can be built and run.",
        ),
        click.option(
            "--scheme",
            type=_Scheme(),
            metavar="TEXT",
            help="What it is stored and computed in: int8, or vision=int8,prefix=int8,bf16. Default: fp32.",
        ),
        task_option,
        click.option(
            "--footage", type=FOOTAGE, metavar="DIR", help="Recordings, one file a feature, or a LeRobot dataset."
        ),
        click.option("--loop", "loop_file", type=LOOP, metavar="FILE", help="An edited loop: edgectl init."),
    )
    return _all(command, options)


def graph_options(command: F) -> F:
    """What a bare graph leaves open: --shape, --state."""
    options = (
        click.option(
            "--shape",
            "shapes",
            type=_Shape(),
            multiple=True,
            metavar="INPUT=1x3x480x640",
            help="Sizes of an ONNX graph's input; again for each.",
        ),
        click.option(
            "--state",
            "states",
            type=_State(),
            multiple=True,
            metavar="INPUT=OUTPUT",
            help="An ONNX graph's output fed back to an input, or none. Default: by their names.",
        ),
    )
    return _all(command, options)


def word_options(command: F) -> F:
    """What two are converted to: --runtime, --scheme, each once for both or twice."""
    options = (
        click.option(
            "--runtime", "runtimes", multiple=True, type=_Words(), metavar="TEXT", help="Twice: of A, then of B."
        ),
        click.option(
            "--scheme", "schemes", multiple=True, type=_Scheme(), metavar="TEXT", help="Twice: of A, then of B."
        ),
    )
    return _all(command, options)


def declared_of(shapes: Sequence[tuple[str, tuple[int, ...]]], states: Sequence[tuple[str, str]]) -> Declared:
    """What was said about a bare graph."""
    from edgectl_converters.card import Declared

    return Declared(dict(shapes), {into: out for into, out in states if out} if states else None)


def loop_options(command: F) -> F:
    """How to measure: --measure, --rate."""
    options = (
        click.option("--measure", "measure_s", type=DURATION, metavar="20s", help="Time measured after warm-up."),
        click.option("--rate", "rate_hz", type=RATE, metavar="30Hz", help="Another rate than the loop's own."),
    )
    return _all(command, options)


def patience_option(command: F) -> F:
    """How long a device may be silent once something goes on there: --patience."""
    option = click.option(
        "--patience",
        "patience_s",
        type=DURATION,
        default="2min",
        show_default=True,
        metavar="2min",
        help="How long a device may be silent; what goes on there goes on.",
    )
    return option(command)


def _all(command: F, options: tuple[Callable[[F], F], ...]) -> F:
    for option in reversed(options):
        command = option(command)
    return command
