"""Loop files: the YAML that people read and edit, and the LoopSpec that it means.

Every duration, rate and fraction carries its unit (`33ms`, `30Hz`, `1%`); a tick deadline may be one `period`,
whatever the rate. A deadline names its statistic (`tick: {p99: 33ms}`), or means the default one (`_DEFAULTS`). An
unknown key is an error that names it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import msgspec

from edgectl_converters.bounded_yaml import MAX_SIZE_BYTES, YamlError, parse_yaml
from edgectl_converters.observations import find_footage, instruction
from edgectl_protos.domain.errors import LoopSpecError
from edgectl_protos.domain.loop import (
    MAX_TICKS,
    Deadlines,
    Execution,
    Limit,
    LoopSpec,
    Metric,
    Mode,
    OnEnd,
    Overrun,
    SourceKind,
    SourceSpec,
    check_fits,
    default_measure_s,
)
from edgectl_protos.domain.policy import FeatureKind, Policy

_E = TypeVar("_E", bound=enum.Enum)

__all__ = ["derive_loop", "dump_loop", "load_loop", "parse_duration_s", "parse_loop", "parse_rate_hz"]

_DEFAULT_RATE_HZ = 30.0
_ANSWERS_HZ, _ANSWERS_S = 1.0, 20.0
_HINT = "see docs/loop.md, or start from: edgectl init CHECKPOINT"
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|µs|ms|s|min)")
# Decimal, so that what is printed in milliseconds is read back as the same number of seconds.
_SECONDS = {"us": "1e-6", "µs": "1e-6", "ms": "1e-3", "s": "1", "min": "60"}
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*Hz")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_PERIOD = "period"
_DEFAULT_TASK = "pick up the object"
_DEFAULTS = {Metric.TICK: "p99", Metric.AGE: "p95", Metric.MISSES: "rate", Metric.STARVATION: "rate"}
_P999, _P999_WORDS = "p999", "p99.9"
_TICK_DEADLINES = "publish 99 % of actions within one period; also: age: {p95: 120ms}, misses: {run: 2}"


class _Source(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    path: str = ""
    fps: float = 0.0
    seed: int = 0
    on_end: str = "fail"
    text: str = ""
    resize: bool = False
    delay: str = "0s"
    phase: str = "0s"


class _Execution(msgspec.Struct, forbid_unknown_fields=True):
    use: int
    kind: str = "sync_chunk"


class _Deadlines(msgspec.Struct, forbid_unknown_fields=True):
    """Each is a number with its unit, or several, each of a statistic."""

    tick: str | dict[str, str | int]
    age: str | dict[str, str | int] = {}
    misses: str | dict[str, str | int] = {}
    starvation: str | dict[str, str | int] = {}


class _File(msgspec.Struct, forbid_unknown_fields=True):
    loop: str
    name: str
    rate: str
    sources: dict[str, _Source]
    execution: _Execution
    deadlines: _Deadlines
    measure: str = ""
    mode: str = "paced"
    overrun: str = "skip"
    sink: str | None = "null"
    threads: int = 0


def derive_loop(
    policy: Policy, footage: Path | None = None, *, task: str = "", rate_hz: float = _DEFAULT_RATE_HZ
) -> LoopSpec:
    """The loop that a policy's own features ask for, over footage where there is some, else synthetic sources.

    Raises:
        SourceError: the footage folder does not exist.
    """
    sources = []
    text = instruction(footage, task) or _DEFAULT_TASK
    for index, feature in enumerate(policy.observations):
        if feature.kind is FeatureKind.LANGUAGE:
            sources.append(SourceSpec(feature.name, SourceKind.TEXT, text=text, on_end=OnEnd.REPEAT))
            continue
        found = find_footage(footage, feature.name) if footage is not None else None
        if found is None:
            sources.append(SourceSpec(feature.name, SourceKind.SYNTHETIC, seed=index, on_end=OnEnd.REPEAT))
        else:
            sources.append(SourceSpec(feature.name, found[1], found[0].name, on_end=OnEnd.REPEAT))
    if policy.is_text:
        # An answer is asked for when the last one is there, and has no period.
        return LoopSpec(
            name=policy.type,
            rate_hz=_ANSWERS_HZ,
            sources=tuple(sources),
            execution=Execution(policy.n_action_steps),
            deadlines=Deadlines.of_tick(1.0 / _ANSWERS_HZ),
            measure_s=_ANSWERS_S,
            mode=Mode.CLOSED,
        )
    return LoopSpec(
        name=policy.type,
        rate_hz=rate_hz,
        sources=tuple(sources),
        execution=Execution(policy.n_action_steps),
        deadlines=Deadlines.of_tick(1.0 / rate_hz),
        measure_s=default_measure_s(rate_hz),
    )


def load_loop(path: Path, policy: Policy) -> LoopSpec:
    """Read a loop file and check that it fits the policy.

    Raises:
        LoopSpecError: it is not valid, or does not fit.
    """
    try:
        with open(path, "rb") as file:
            # One more than is read: the reader says so.
            data = file.read(MAX_SIZE_BYTES + 1)
    except OSError as exc:
        raise LoopSpecError(f"{path}: {exc.strerror}", hint="write one: edgectl init CHECKPOINT -o loop.yaml") from exc
    loop = parse_loop(data, what=str(path))
    try:
        check_fits(loop, policy)
    except LoopSpecError as exc:
        raise LoopSpecError(f"{path}: {exc.message}", hint=exc.hint) from exc
    return loop


def parse_loop(data: bytes | str, *, what: str) -> LoopSpec:
    """A loop file's text as a LoopSpec.

    Raises:
        LoopSpecError: with the place and what was expected.
    """
    try:
        document = parse_yaml(data)
    except YamlError as exc:
        raise LoopSpecError(f"{what} is not YAML: {exc}", hint=_HINT) from exc
    if isinstance(document, dict) and document.get("loop") != "v1":
        raise LoopSpecError(f"{what}: `loop: v1` is missing, found {str(document.get('loop'))[:80]!r}", hint=_HINT)
    try:
        file = msgspec.convert(document, type=_File)
    except (msgspec.ValidationError, OverflowError) as exc:
        raise LoopSpecError(f"{what}: {exc}", hint=_HINT) from exc
    try:
        return _loop_of(file)
    except LoopSpecError as exc:
        raise LoopSpecError(f"{what}: {exc.message}", hint=_HINT) from exc


def dump_loop(loop: LoopSpec) -> str:
    """The loop as the YAML that `parse_loop` reads back, with a word on each line that needs one."""
    lines = [
        "loop: v1",
        f"name: {_quoted(loop.name)}",
        f"rate: {_number(loop.rate_hz)}Hz",
        f"mode: {loop.mode.value:<13}# paced: absolute schedule · closed: as fast as it goes, no verdict on pacing",
        f"overrun: {loop.overrun.value:<10}# skip: drop to the next slot, lost ones count as late · burst: catch up",
        f"measure: {_number(loop.measure_s) + 's':<9} # after warm-up; a short run may not decide",
        f"threads: {loop.threads:<10}# 0: one per core",
        "sources:               # a camera of another size: add resize: true",
    ]
    for source in loop.sources:
        parts = [f"kind: {source.kind.value}"]
        parts += [f"path: {_quoted(source.path)}"] if source.path else []
        parts += [f"fps: {_number(source.fps)}"] if source.fps else []
        parts += [f"seed: {source.seed}"] if source.seed or source.kind is SourceKind.SYNTHETIC else []
        parts += [f"text: {_quoted(source.text)}"] if source.text else []
        parts += ["resize: true"] if source.resize else []
        parts += [f"delay: {_number(source.delay_s, 3)}ms"] if source.delay_s else []
        parts += [f"phase: {_number(source.phase_s, 3)}ms"] if source.phase_s else []
        parts += [f"on_end: {source.on_end.value}"] if source.kind is not SourceKind.TEXT else []
        lines.append(f"  {_quoted(source.feature)}: {{{', '.join(parts)}}}")
    execution = loop.execution
    lines.append(f"execution: {{kind: {execution.kind}, use: {execution.use}}}  # use: actions per inference")
    lines.append(f"sink: {_quoted(loop.sink)}           # edgectl moves no robot")
    lines.append(f"deadlines: {{{_limits_text(loop)}}}  # {_TICK_DEADLINES}")
    return "\n".join(lines) + "\n"


def parse_duration_s(text: str) -> float:
    """`33ms`, `2s`, `1.5min` in seconds.

    Raises:
        LoopSpecError: no unit, or no number.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise LoopSpecError(f"{text!r} is no duration; write it with its unit: 500us, 33ms, 20s, 2min")
    return float(Decimal(found[1]) * Decimal(_SECONDS[found[2]]))


def parse_rate_hz(text: str) -> float:
    """`30Hz` in hertz.

    Raises:
        LoopSpecError: no unit, or no number.
    """
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise LoopSpecError(f"{text!r} is no rate; write it with its unit: 30Hz")
    return float(found[1])


def _parse_fraction(text: str) -> float:
    found = _PERCENT.fullmatch(text.strip())
    if found is None:
        raise LoopSpecError(f"{text!r} is no percentage; write 1%")
    return float(Decimal(found[1]) / 100)


def _limits_text(loop: LoopSpec) -> str:
    texts: dict[str, list[str]] = {}
    for limit in loop.deadlines.limits:
        if limit.statistic == "run":
            text = f"{limit.limit:.0f}"
        elif limit.statistic == "rate":
            text = f"{_number(limit.limit, 2)}%"
        elif limit.metric is Metric.TICK and limit.limit == loop.period_s:
            text = _PERIOD
        else:
            text = f"{_number(limit.limit, 3)}ms"
        texts.setdefault(limit.metric.value, []).append(
            f"{_P999_WORDS if limit.statistic == _P999 else limit.statistic}: {text}"
        )
    return ", ".join(f"{metric}: {{{', '.join(each)}}}" for metric, each in texts.items())


def _limits(file: _Deadlines, rate_hz: float) -> Iterator[Limit]:
    for metric in Metric:
        given = getattr(file, metric.value)
        for statistic, value in (given if isinstance(given, dict) else {_DEFAULTS[metric]: given}).items():
            key = f"deadlines.{metric.value}.{statistic}"
            name = _P999 if statistic == _P999_WORDS else statistic
            # Which statistics there are is known to the limit.
            if name == "run":
                if not isinstance(value, int) or value > MAX_TICKS:
                    raise LoopSpecError(f"{key}: {str(value)[:80]} is no number of ticks of a run")
                limit = float(value)
            elif isinstance(value, int):
                raise LoopSpecError(
                    f"{key}: {str(value)[:80]} has no unit; write such as {'1%' if name == 'rate' else '33ms'}"
                )
            elif metric in (Metric.MISSES, Metric.STARVATION):
                limit = _at(key, _parse_fraction, value)
            elif metric is Metric.TICK and value == _PERIOD:
                # A rate of nothing is refused with the loop, where the message says so.
                limit = 1.0 / (rate_hz or 1.0)
            else:
                limit = _at(key, parse_duration_s, value)
            yield Limit(metric, name, limit)


def _number(value: float, shift: int = 0) -> str:
    """The shortest digits that are this number, times a power of ten, without an exponent."""
    text = f"{Decimal(repr(float(value))).scaleb(shift):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _quoted(text: str) -> str:
    import yaml

    if _PLAIN.fullmatch(text) and text.lower() not in ("null", "true", "false", "yes", "no", "on", "off"):
        return text
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10_000)
    return quoted.rstrip("\n")


def _at(key: str, parse: Callable[[str], float], text: str) -> float:
    try:
        return parse(text)
    except LoopSpecError as exc:
        raise LoopSpecError(f"{key}: {exc.message}") from exc


def _one_of(kind: type[_E], text: str, key: str) -> _E:
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(str(member.value) for member in kind)
        raise LoopSpecError(f"{key} {text!r} is not known; known: {known}") from None


def _loop_of(file: _File) -> LoopSpec:
    rate_hz = _at("rate", parse_rate_hz, file.rate)
    return LoopSpec(
        name=file.name,
        rate_hz=rate_hz,
        sources=tuple(
            SourceSpec(
                name,
                _one_of(SourceKind, s.kind, f"sources.{name}.kind"),
                s.path,
                s.fps,
                s.seed,
                OnEnd.REPEAT if s.kind == SourceKind.TEXT.value else _one_of(OnEnd, s.on_end, f"sources.{name}.on_end"),
                s.text,
                s.resize,
                _at(f"sources.{name}.delay", parse_duration_s, s.delay),
                _at(f"sources.{name}.phase", parse_duration_s, s.phase),
            )
            for name, s in file.sources.items()
        ),
        execution=Execution(file.execution.use, file.execution.kind),
        deadlines=Deadlines(tuple(_limits(file.deadlines, rate_hz))),
        measure_s=_at("measure", parse_duration_s, file.measure) if file.measure else default_measure_s(rate_hz or 1.0),
        mode=_one_of(Mode, file.mode, "mode"),
        overrun=_one_of(Overrun, file.overrun, "overrun"),
        # An unquoted null is what people type, and YAML's word for nothing.
        sink="null" if file.sink is None else file.sink,
        threads=file.threads,
    )
