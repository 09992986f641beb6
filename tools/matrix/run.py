"""`make matrix`: every runtime in every scheme that edgectl builds, with each of the matrix's subjects.

What this machine can run is deployed to it, proved and measured; the rest is converted for the boards that have it.
Runtimes, schemes and boards are those of the tables. Prints a line a way, keeps what came out in docs/matrix.json, and
writes the README's tables from it.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(Path(__file__).parent)]

from record import Entry, boards_table, read, ways, ways_table, write  # noqa: E402
from subjects import Subject, subjects  # noqa: E402
from trial import Trials  # noqa: E402

from edgectl_converters.inspect import inspect  # noqa: E402
from edgectl_converters.targets.registry import target  # noqa: E402
from edgectl_converters.toolchain import Toolchains  # noqa: E402
from edgectl_host.config import HostConfig  # noqa: E402
from edgectl_protos.domain.errors import EdgectlError  # noqa: E402
from edgectl_testkit.documents import write_section  # noqa: E402

WORK = ROOT / ".cache" / "matrix"
RECORD = ROOT / "docs" / "matrix.json"


def main() -> int:
    """Run all, or those that are named; 1 where a way that went before goes no more."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runtime", action="append", metavar="NAME", help="this one only; again for more")
    parser.add_argument("--subject", action="append", metavar="NAME", help="this one only; again for more")
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help="where subjects and caches stand")
    parser.add_argument("--tables", action="store_true", help="only write the tables from the record")
    options = parser.parse_args()
    if options.tables:
        tables()
        return 0
    config = HostConfig.from_environment(os.environ, uid=os.getuid())
    home = _home(options.work, config)
    chains = Toolchains(home / "cache", config.config_dir, config.python_search)
    made = subjects(options.work / "subjects", chains, _note)
    chosen = [subject for subject in made if not options.subject or subject.name in options.subject]
    before = {entry.way: entry.word for entry in read(RECORD)}
    trials = Trials(home, f"generic-{platform.machine()}")
    lost = 0
    try:
        for runtime, scheme in ways():
            if runtime not in (options.runtime or [runtime]):
                continue
            for subject in chosen:
                if not _reads(subject, runtime):
                    continue
                started = time.monotonic()
                entries = trials.run(subject, runtime, scheme)
                write(RECORD, entries)
                for line in _lines(entries, time.monotonic() - started):
                    print(line, flush=True)
                lost += sum(entry.word == "refused" != before.get(entry.way, "refused") for entry in entries)
    finally:
        trials.close()
    tables()
    return 1 if lost else 0


def tables() -> None:
    """Write the README's tables from the record."""
    entries = read(RECORD)
    write_section(ROOT / "README.md", "matrix", f"{ways_table(entries)}\n{boards_table(entries)}")


def _home(work: Path, config: HostConfig) -> Path:
    """A home with a cache and an agent of its own, and the toolchains that are there already."""
    home = work / "home"
    chains = config.cache_dir / "toolchains"
    chains.mkdir(parents=True, exist_ok=True)
    (home / "cache").mkdir(parents=True, exist_ok=True)
    link = home / "cache" / "toolchains"
    if not link.exists():
        link.symlink_to(chains)
    return home


def _reads(subject: Subject, runtime: str) -> bool:
    """Whether the runtime's target reads a form that the subject has; a subject that no source reads has none."""
    try:
        return bool(target(runtime).form_of(inspect(subject.path).forms))
    except EdgectlError:
        return False


def _lines(entries: list[Entry], seconds: float) -> list[str]:
    """One a word: who got so far, and the figures."""
    lines = []
    for word in dict.fromkeys(entry.word for entry in entries):
        those = [entry for entry in entries if entry.word == word]
        first = those[0]
        figures = [first.precision] if first.precision else []
        figures += [f"parity {first.parity:g} of its limit"] if first.parity is not None else []
        figures += [f"{first.size_bytes / 1e6:.1f} MB"] if first.size_bytes else []
        figures += [f"{first.memory_bytes / 1e6:.0f} MB resident"] if first.memory_bytes else []
        figures += [first.reason] if first.reason else []
        boards = first.board if len(those) == 1 else f"{len(those)} boards"
        head = f"{first.subject:8} {first.runtime} {first.scheme}"
        lines.append(f"{head:34} {word:8} {boards:18} {' · '.join(figures)}  ({seconds:.0f} s)")
    return lines


def _note(text: str) -> None:
    print(f"  … {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
