"""`make fuzz`: every parser that faces the network or the disk, for ten minutes each, led by coverage (atheris).

Prints a line a parser; 1 where one did not hold, with the input that shows it in `.cache/fuzz/`. With `--keep`, the
inputs that reach something new are kept in `tests/fuzz/`, from where the tests replay them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(Path(__file__).parent)]

from parsers import PARSERS  # noqa: E402

from edgectl_protos.domain.errors import EdgectlError  # noqa: E402

CORPUS = ROOT / "tests" / "fuzz"
WORK = ROOT / ".cache" / "fuzz"
INPUT_BYTES = 1 << 16
INPUT_TIMEOUT_S = 10
KEPT, KEPT_BYTES = 64, 4096
NAME_LETTERS = 16
"""Of a kept input's name, which is the digest of its bytes."""
GROWTH_BYTES = 200_000_000
"""What a parser may take beyond what its imports take."""
_EXTREMES: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**31, 2**32 - 1, 2**63, -(2**63) - 1, 10**400, 0.5, 1e308, -0.0),
    *("", "\ud800", "\0", "../../etc/passwd", "/", "a" * 70_000, "é", [], {}, [[[[]]]], {"op": None}),
)


def main() -> int:
    """Fuzz all parsers, or those that are named; 1 where one did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(PARSERS)}")
    parser.add_argument("--seconds", type=int, default=600, metavar="S", help="for each (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep what reaches something new in tests/fuzz")
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help="where inputs are collected")
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(*options.child)
    unknown = [name for name in options.names if name not in PARSERS]
    if unknown:
        parser.error(f"no parser {unknown[0]!r}; known: {', '.join(PARSERS)}")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        held = list(pool.map(lambda name: fuzz(name, options), options.names or PARSERS))
    return 0 if all(held) else 1


def fuzz(name: str, options: argparse.Namespace) -> bool:
    """One parser in a process of its own; whether it held."""
    work = options.work / name
    found, kept = work / "corpus", CORPUS / name
    for folder in (found, kept):
        folder.mkdir(parents=True, exist_ok=True)
    limits = [f"-timeout={INPUT_TIMEOUT_S}", f"-max_len={INPUT_BYTES}", "-rss_limit_mb=0", "-print_final_stats=1"]
    limits += [f"-artifact_prefix={work}/", f"-max_total_time={options.seconds}"]
    started = time.monotonic()
    done = _child(name, *limits, str(found), str(kept))
    spent_s = time.monotonic() - started
    runs, rss_mb = (_stat(done.stderr, stat) for stat in ("number_of_executed_units", "peak_rss_mb"))
    if done.returncode == 0 and options.keep:
        keep(found, kept)
    outcome = "held" if done.returncode == 0 else f"did not hold; see {work}:\n{_last_words(done.stdout)}"
    print(f"{name:12} {runs:>10,} inputs  {spent_s:4.0f} s  {rss_mb:4} MB  {outcome}", flush=True)
    return done.returncode == 0


def keep(found: Path, kept: Path) -> None:
    """Of the inputs that each reached something new, now or before, the shortest."""
    there = {path.name: path for path in kept.iterdir()}
    # What was found holds only what goes beyond what is kept.
    there |= {path.name[:NAME_LETTERS]: path for path in found.iterdir()}
    shortest = sorted(there, key=lambda name: (there[name].stat().st_size, name))
    chosen = [name for name in shortest if there[name].stat().st_size <= KEPT_BYTES][:KEPT]
    for name in there.keys() - set(chosen):
        (kept / name).unlink(missing_ok=True)
    for name in chosen:
        if there[name].parent != kept:
            shutil.copyfile(there[name], kept / name)


def _child(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, __file__, "--child", name, *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def _stat(text: str, name: str) -> int:
    found = re.search(rf"stat::{name}:\s*(\d+)", text)
    return int(found[1]) if found else 0


def _last_words(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()[-12:])


def child(name: str, *arguments: str) -> int:
    """Fuzz one parser in this process; never returns where the fuzzer ends it."""
    import atheris

    parser = PARSERS[name]
    with atheris.instrument_imports(include=["edgectl_protos", "edgectl_agent", "edgectl_converters", "edgectl_host"]):
        parse = parser.prepare()
    for number, seed in enumerate(parser.seeds()):
        # The first folder is where inputs are collected.
        folder = next(Path(argument) for argument in arguments if not argument.startswith("-"))
        (folder / f"seed-{number}").write_bytes(seed)
    options = {"custom_mutator": _mutator(atheris)} if parser.structured else {}
    atheris.Setup([name, *arguments], _checked(parse), **options)
    atheris.Fuzz()
    return 0


def _checked(parse: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """The parser, whose refusals are answers and whose growth is a failure."""
    before_bytes = _resident_bytes()

    def check(data: bytes) -> None:
        try:
            parse(data)
        except EdgectlError as exc:
            # Whatever stood in the input, its refusal can be shown.
            str(exc).encode()
        if (grown := _resident_bytes() - before_bytes) > GROWTH_BYTES:
            raise MemoryError(f"{grown / 1e6:.0f} MB more than at the start")

    return check


def _resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _mutator(atheris: Any) -> Callable[[bytes, int, int], bytes]:
    """Half of the time a change of the document, otherwise of its bytes."""

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            try:
                changed = json.dumps(_changed(json.loads(data), chance)).encode()
            except (ValueError, RecursionError):
                changed = b""
            if 0 < len(changed) <= max_size:
                return changed
        mutated: bytes = atheris.Mutate(data, max_size)
        return mutated

    return mutate


def _changed(value: Any, chance: random.Random) -> Any:
    """A document with one value of it replaced, removed, doubled, or under another key."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        rest = {other: one for other, one in value.items() if other != key}
        turn = chance.random()
        if turn < 0.05:
            return rest
        if turn < 0.1:
            return {**rest, chance.choice(["", "x", key + "s"]): value[key]}
        return {**value, key: _changed(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.9:
        place = chance.randrange(len(value))
        turn = chance.random()
        if turn < 0.1:
            return [*value[:place], *value[place + 1 :]]
        if turn < 0.2:
            return [*value, value[place]]
        return [*value[:place], _changed(value[place], chance), *value[place + 1 :]]
    if isinstance(value, int) and not isinstance(value, bool) and chance.random() < 0.5:
        return value + chance.choice([-1, 1, 7, -value, value, 2**31 - value])
    if isinstance(value, str) and value and chance.random() < 0.5:
        cut = chance.randrange(len(value))
        return value[:cut] + chance.choice(["", "/", "..", "\ud800", "é", value]) + value[cut:]
    return chance.choice(_EXTREMES)


if __name__ == "__main__":
    sys.exit(main())
