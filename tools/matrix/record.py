"""The record of what really ran where, `docs/matrix.json`, and the README's tables, which are written from it.

An entry is made from the JSON of a deploy or a conversion, and from nothing else. The newest entry of a way stands,
unless an older one went further.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgectl_converters.targets.registry import TARGETS, target
from edgectl_profiles.library import load, names

WORDS = ("hardware", "native", "emulated", "built", "pending", "refused", "planned")
"""How far a way has been proved, best first. `refused`: it does not lead there, for the entry's reason."""
PROVED = WORDS[: WORDS.index("refused")]


@dataclass(frozen=True, slots=True)
class Entry:
    """One way that was gone, or tried.

    `precision` is what was read back, `parity` the largest figure as a share of its limit, `memory_bytes` the largest
    resident set of the worker; empty, None and 0 where it did not run. `run` is empty without a measured run.
    """

    subject: str
    board: str
    runtime: str
    scheme: str
    word: str
    precision: str
    parity: float | None
    size_bytes: int
    memory_bytes: int
    release: str
    run: str
    reason: str
    date: str

    @property
    def way(self) -> tuple[str, str, str, str]:
        """What it proves."""
        return self.subject, self.board, self.runtime, self.scheme


def read(path: Path) -> list[Entry]:
    """All entries; those of boards that are no more are left out."""
    entries = json.loads(path.read_text()) if path.exists() else []
    return [entry for entry in (Entry(**each) for each in entries) if entry.board in names()]


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Put entries beside those that are known."""
    known = {entry.way: entry for entry in read(path)}
    for entry in entries:
        stands = known.get(entry.way)
        if stands is None or WORDS.index(entry.word) <= WORDS.index(stands.word) or entry.word == "refused":
            known[entry.way] = entry
    rows = sorted(known.values(), key=lambda entry: entry.way)
    lines = ",\n".join(f"  {json.dumps(asdict(entry), ensure_ascii=False)}" for entry in rows)
    path.write_text(f"[\n{lines}\n]\n")


def ways() -> list[tuple[str, str]]:
    """Every runtime with every scheme that edgectl builds, in the order of the table of targets."""
    return [(name, scheme) for name in TARGETS for scheme in target(name).schemes]


def ways_table(entries: Sequence[Entry]) -> str:
    """A line a runtime and scheme that were tried: how far each subject came on the board where it came furthest, and
    the figures. Those that were not are listed below.
    """
    subjects = list(dict.fromkeys(sorted((entry.subject for entry in entries), key=_subject_order)))
    lines = [_row(("runtime", "scheme", *subjects, "used", "parity", "size", "memory"))]
    lines.append("|---|---|" + "---|" * (len(subjects) + 1) + "---:|---:|---:|")
    untried = []
    for runtime, scheme in ways():
        here = [entry for entry in entries if (entry.runtime, entry.scheme) == (runtime, scheme)]
        if not here:
            untried.append(f"{runtime} {scheme}")
            continue
        best = {subject: _best([entry for entry in here if entry.subject == subject]) for subject in subjects}
        words = [found.word if (found := best[subject]) else "–" for subject in subjects]
        ran = [entry for entry in best.values() if entry is not None and entry.word in PROVED]
        lines.append(_row((runtime, scheme, *words, *_figures(ran))))
    return "\n".join((*lines, "", f"`planned`: {_grouped(untried) or 'nothing'}.")) + "\n"


def boards_table(entries: Sequence[Entry]) -> str:
    """What was proved for each board, and what no run has shown yet; a line for all of whom the same is true."""
    alike: dict[tuple[str, str], list[str]] = {}
    for board in names():
        words: dict[str, list[str]] = {}
        unproved = []
        for entry in load(board).runtimes:
            for scheme in entry.schemes:
                way = (board, entry.name, scheme)
                found = _best([one for one in entries if (one.board, one.runtime, one.scheme) == way])
                if found is not None and found.word in PROVED:
                    words.setdefault(found.word, []).append(f"{entry.name} {scheme}")
                elif found is None:
                    # Of a runtime that edgectl does not build for yet the name says enough.
                    unproved.append(f"{entry.name} {scheme}" if entry.name in TARGETS else f"{entry.name} ")
        proved = "; ".join(f"**{word}** {_grouped(words[word])}" for word in PROVED if word in words)
        alike.setdefault((proved or "–", _grouped(unproved) or "–"), []).append(board)
    rows = [_row((", ".join(boards), *cells)) for cells, boards in alike.items()]
    return "\n".join((_row(("boards", "proved", "not shown yet")), "|---|---|---|", *rows)) + "\n"


def _grouped(ways: Iterable[str]) -> str:
    """`onnxrt fp32 int8, ncnn fp32`: schemes of one runtime together."""
    found: dict[str, list[str]] = {}
    for way in ways:
        runtime, scheme = way.split(" ", 1)
        found.setdefault(runtime, []).append(scheme)
    return ", ".join(f"{runtime} {' '.join(schemes)}".rstrip() for runtime, schemes in found.items())


def _best(entries: Sequence[Entry]) -> Entry | None:
    return min(entries, key=lambda entry: WORDS.index(entry.word), default=None)


def _figures(entries: Sequence[Entry]) -> tuple[str, str, str, str]:
    """Precision, parity, size and memory over what ran: the worst, and the span."""
    precisions = dict.fromkeys(entry.precision for entry in entries if entry.precision)
    parities = [entry.parity for entry in entries if entry.parity is not None]
    return (
        " ".join(precisions) or "–",
        f"{max(parities):.2g}" if parities else "–",
        _span([entry.size_bytes for entry in entries]),
        _span([entry.memory_bytes for entry in entries]),
    )


def _span(sizes: Sequence[int]) -> str:
    known = sorted(size / 1e6 for size in sizes if size)
    if not known:
        return "–"
    low, high = (f"{size:.3g}" if size < 1000 else f"{size:.0f}" for size in (known[0], known[-1]))
    return f"{low} MB" if low == high else f"{low}–{high} MB"


def _subject_order(subject: str) -> int:
    order = ("act", "smolvla", "cnn", "encoder", "llama", "qwen")
    return order.index(subject) if subject in order else len(order)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
