"""What all trials say together: the table, the thresholds, the record."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trial import Outcome, Trial, Verdict, Way

__all__ = ["LEAST", "Row", "failures", "kind_of", "record", "rows", "shortcomings", "table"]

LEAST = {Way.WITH_DATA: 0.98, Way.WITHOUT_DATA: 0.90}
"""The share of models that the bare runtime gets right and edgectl must, too."""


class Named(Protocol):
    """What is tried."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def ruled_out(self) -> str:
        """Why edgectl refuses this kind by design; empty for what it must get right."""


@dataclass(frozen=True, slots=True)
class Row:
    """One runtime and way, over the models that the bare runtime gets right: `of_bare` counts verdicts and `reasons`
    refusals but for the models of kinds in `ruled_out`, which edgectl refuses by design. `of_all` is over all models.
    """

    runtime: str
    way: Way
    of_bare: Counter[Verdict]
    of_all: Counter[Verdict]
    reasons: Counter[str]
    ruled_out: Counter[str]

    @property
    def bare_right(self) -> int:
        """How many models the bare runtime gets right."""
        return self.of_bare.total() + self.ruled_out.total()

    @property
    def share(self) -> float:
        """The share that edgectl gets right of these, but for what it refuses by design."""
        return self.of_bare[Verdict.RIGHT] / max(1, self.of_bare.total())

    @property
    def strict_share(self) -> float:
        """The share of all of these, those refused by design too."""
        return self.of_bare[Verdict.RIGHT] / max(1, self.bare_right)


def rows(cases: Sequence[Named], outcomes: Mapping[Trial, Outcome]) -> list[Row]:
    """A row for each runtime and way of conversion."""
    found = []
    ruled_out = {index: case.ruled_out for index, case in enumerate(cases)}
    for runtime in sorted({trial.runtime for trial in outcomes}):
        right = _bare_right(outcomes, runtime)
        for way in (way for way in LEAST if any(trial.way is way for trial in outcomes)):
            all_ = {t.case: outcome for t, outcome in outcomes.items() if t.runtime == runtime and t.way is way}
            those = [outcome for case, outcome in all_.items() if case in right and not ruled_out[case]]
            found.append(
                Row(
                    runtime,
                    way,
                    of_bare=Counter(outcome.verdict for outcome in those),
                    of_all=Counter(outcome.verdict for outcome in all_.values()),
                    reasons=Counter(outcome.reason for outcome in those if outcome.verdict is Verdict.REFUSED),
                    ruled_out=Counter(ruled_out[case] for case in right if ruled_out[case]),
                )
            )
    return found


def shortcomings(found: Sequence[Row]) -> list[str]:
    """What misses its threshold; nothing may end in an internal error, whatever the bare runtime does."""
    short = []
    for row in found:
        where = f"{row.runtime} {row.way.value}"
        if row.share < LEAST[row.way]:
            short.append(f"{where}: {row.share:.1%} of what the bare runtime gets right; wanted {LEAST[row.way]:.0%}")
        for verdict in (Verdict.INTERNAL, Verdict.CRASHED):
            if row.of_all[verdict]:
                short.append(f"{where}: {row.of_all[verdict]} {verdict.value}; wanted none")
    return short


def table(found: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = [
        "| runtime | golden data | bare right | refused by design | edgectl right | share | of all bare right | "
        "refused | wrong | internal | crashed |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        verdicts = row.of_bare
        over_all = [f"{verdicts[verdict]} ({row.of_all[verdict]})" for verdict in (Verdict.INTERNAL, Verdict.CRASHED)]
        cells = [
            *(row.runtime, row.way.value, row.bare_right, _counts(row.ruled_out), verdicts[Verdict.RIGHT]),
            *(f"{row.share:.1%}", f"{row.strict_share:.1%}", _counts(row.reasons), verdicts[Verdict.WRONG], *over_all),
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines.append("")
    lines.append(
        "Over the models that the bare runtime gets right, the share without those refused by design; in brackets, "
        "over all models."
    )
    return "\n".join(lines)


def _counts(found: Counter[str]) -> str:
    named = ", ".join(f"{count} {name}" for name, count in found.most_common())
    return f"{found.total()}: {named}" if named else "0"


def failures(
    cases: Sequence[Named], outcomes: Mapping[Trial, Outcome]
) -> dict[tuple[str, str, str], list[tuple[str, str]]]:
    """Cases and messages by (runtime and way, verdict and reason, kind): those that the bare runtime gets right and
    edgectl does not, refusals by design left out, and every internal error and crash.
    """
    found: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for trial, outcome in outcomes.items():
        if trial.way is Way.BARE or outcome.verdict is Verdict.RIGHT:
            continue
        fatal = outcome.verdict in (Verdict.INTERNAL, Verdict.CRASHED)
        right = outcomes[Trial(trial.case, trial.runtime, Way.BARE)].verdict is Verdict.RIGHT
        if fatal or (right and not cases[trial.case].ruled_out):
            where = (f"{trial.runtime} {trial.way.value}", f"{outcome.verdict.value} {outcome.reason}")
            found.setdefault((*where, kind_of(outcome)), []).append((cases[trial.case].name, outcome.message))
    return dict(sorted(found.items(), key=lambda item: (item[0][:2], -len(item[1]))))


def kind_of(outcome: Outcome) -> str:
    """The message without names and numbers."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"|\S*test_\S+", "…", outcome.message)
    text = re.sub(r"\[[^\]]*\]", "[…]", text)
    return re.sub(r"-?\d[\d.e+-]*", "N", text)[:160]


def record(
    found: Sequence[Row],
    models: int,
    every: int,
    versions: Mapping[str, str],
    kinds: Mapping[tuple[str, str, str], Any],
) -> dict[str, Any]:
    """The document that is kept with the documentation."""
    return {
        "models": models,
        "sample": f"one in {every}" if every > 1 else "all",
        "versions": dict(versions),
        "rows": [
            {
                "runtime": row.runtime,
                "golden_data": row.way.value,
                "bare_right": row.bare_right,
                "refused_by_design": dict(sorted(row.ruled_out.items())),
                "right": row.of_bare[Verdict.RIGHT],
                "share": round(row.share, 4),
                "share_of_all_bare_right": round(row.strict_share, 4),
                "refused": dict(sorted(row.reasons.items())),
                "wrong": row.of_bare[Verdict.WRONG],
                "internal_of_all": row.of_all[Verdict.INTERNAL],
                "crashed_of_all": row.of_all[Verdict.CRASHED],
            }
            for row in found
        ],
        "not_right": [
            {"where": where, "what": what, "kind": kind, "models": len(those), "example": those[0][0]}
            for (where, what, kind), those in kinds.items()
        ],
    }


def _bare_right(outcomes: Mapping[Trial, Outcome], runtime: str) -> set[int]:
    return {
        trial.case
        for trial, outcome in outcomes.items()
        if trial.runtime == runtime and trial.way is Way.BARE and outcome.verdict is Verdict.RIGHT
    }
