"""A run with everything that a report of it needs: what was measured, judged, installed and proved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.deployment import Deployment
from edgectl_protos.domain.loop import Mode
from edgectl_protos.domain.newer import is_newer
from edgectl_protos.domain.run import RunSummary
from edgectl_protos.domain.verdict import Outcome, Verdict, judge

__all__ = ["CAPACITY", "RunRecord", "worst_exit_code"]

CAPACITY = "capacity"
"""The outcome of a closed run: it measures what the device could do, and is no evidence of pacing."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run. `device` is the name in the fleet; `manifest` is None when this host never had the bundle."""

    device: str
    summary: RunSummary
    verdict: Verdict | None
    deployment: Deployment | None = None
    manifest: Manifest | None = None
    samples_path: str | None = None

    @classmethod
    def of(
        cls, device: str, summary: RunSummary, deployment: Deployment | None, manifest: Manifest | None
    ) -> RunRecord:
        """The record of a finished run; a closed one gets no verdict, and one in a mode of a newer agent no other than
        that nothing is shown.
        """
        verdict = judge(summary) if summary.loop.mode is Mode.PACED else None
        if is_newer(summary.loop.mode):
            verdict = Verdict(Outcome.INCONCLUSIVE, ())
        return cls(device, summary, verdict, deployment, manifest)

    @property
    def outcome(self) -> str:
        """pass, fail, inconclusive, or capacity."""
        return self.verdict.outcome.value if self.verdict else CAPACITY

    @property
    def exit_code(self) -> int:
        """0 passed, 1 failed, 3 inconclusive; a measurement of capacity is no failure."""
        codes = {Outcome.FAIL.value: 1, Outcome.INCONCLUSIVE.value: 3}
        return codes.get(self.outcome, 0)


def worst_exit_code(records: Iterable[RunRecord]) -> int:
    """1 when one failed, else 3 when one is inconclusive, else 0."""
    codes = {record.exit_code for record in records}
    return next((code for code in (1, 3) if code in codes), 0)
