"""Runs of several releases on one device in turns: A B C A B C …, each in its own warm worker.

Every block warms up by the rule before it is measured. Releases that the device does not keep are installed first, in
their order, so that nothing is installed between blocks; the last one stays installed.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgectl_host.fleet.inventory import Device
from edgectl_host.runs.record import RunRecord
from edgectl_host.runs.samples import read_responses_s
from edgectl_host.transport.base import DeviceClient
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.deploy import install
from edgectl_host.workflows.patience import Patience
from edgectl_host.workflows.profile import measure, samples_of
from edgectl_host.workflows.progress import Progress, Update
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.errors import EdgectlError, UsageError
from edgectl_protos.domain.interference import Interference
from edgectl_protos.domain.loop import Deadlines, Limit, LoopOverrides, Metric
from edgectl_protos.domain.run import SAMPLE_FLOORS, Exceedances, Misses, Percentiles, RunSummary
from edgectl_protos.domain.verdict import Verdict, judge

__all__ = ["Blocks", "Contestant", "Pooled", "bring", "conditions_of", "pool", "take_turns"]

_MAX_WARMING_C = 10.0
_SAME_LOOP = {
    "rate": "loop.rate_hz",
    "mode": "loop.mode.value",
    "overruns": "loop.overrun.value",
    "actions of a chunk": "loop.execution.use",
}
_SAME_CONDITIONS = {
    "machine": "facts.machine_id",
    "board": "facts.board",
    "kernel": "facts.kernel",
    "cores": "facts.cpu_count",
    "governor": "facts.governor",
    "threads": "threads",
}


@dataclass(frozen=True, slots=True)
class Contestant:
    """A release that takes turns, under the name that people gave it."""

    label: str
    release: Digest


@dataclass(frozen=True, slots=True)
class Blocks:
    """What one contestant's blocks found, in their order. `failure`: why it ended before the others."""

    label: str
    records: tuple[RunRecord, ...]
    responses_s: tuple[npt.NDArray[np.float64], ...]
    failure: EdgectlError | None = None


@dataclass(frozen=True, slots=True)
class Pooled:
    """All blocks of one contestant as one measurement."""

    response: Percentiles
    misses: Misses
    verdict: Verdict


def pool(blocks: Blocks, tick_statistic: str = "") -> Pooled:
    """One measurement of all blocks; a run of misses does not reach from one block into the next. With a statistic,
    only the loop's tick deadline is judged, by that.
    """
    summaries = [record.summary for record in blocks.records]
    response = _percentiles(np.concatenate(blocks.responses_s))
    count = sum(summary.misses.count for summary in summaries)
    misses = Misses(
        count,
        count / response.n,
        max(summary.misses.longest_run for summary in summaries),
        sum(summary.misses.skipped for summary in summaries),
    )
    whole = replace(
        summaries[-1],
        response=response,
        misses=misses,
        exceedances=tuple(_counted(summary.exceedances for summary in summaries)),
        interference=_interference(summaries),
    )
    deadlines = whole.loop.deadlines
    if tick_statistic:
        deadlines = Deadlines((Limit(Metric.TICK, tick_statistic, deadlines.tick_s),))
    return Pooled(response, misses, judge(whole, deadlines))


async def bring(client: DeviceClient, bundle: Bundle, *, owner: str, patience: Patience, progress: Progress) -> bool:
    """Install a release unless the device keeps it; whether it was installed.

    Raises:
        EdgectlError: what the device refused, or why the deployment failed.
    """
    if bundle.digest in (await client.installed()).kept:
        return False
    await install(client, bundle, owner=owner, patience=patience, progress=progress)
    return True


async def take_turns(
    client: DeviceClient,
    device: Device,
    contestants: Sequence[Contestant],
    overrides: LoopOverrides,
    *,
    blocks: int,
    owner: str,
    manifest_of: Callable[[Digest], Manifest | None],
    patience: Patience,
    progress: Progress,
) -> tuple[Blocks, ...]:
    """So many blocks of each, in turns. One that fails takes no further turns.

    Raises:
        UsageError: their loops differ, so that their times do not compare.
    """
    found = [Blocks(contestant.label, (), ()) for contestant in contestants]
    for block in range(blocks):
        for index, contestant in enumerate(contestants):
            so_far = found[index]
            if so_far.failure is not None:
                continue
            told = functools.partial(_tell, progress, device.name, f"{contestant.label}, block {block + 1} of {blocks}")
            try:
                record = await measure(
                    client,
                    device,
                    overrides,
                    owner=owner,
                    release=contestant.release,
                    part_of="a comparison",
                    manifest_of=manifest_of,
                    patience=patience,
                    progress=told,
                )
                samples = b"".join([piece async for piece in samples_of(client, record.summary.run_id)])
                times = (*so_far.responses_s, read_responses_s(samples))
                found[index] = replace(so_far, records=(*so_far.records, record), responses_s=times)
            except EdgectlError as exc:
                found[index] = replace(so_far, failure=exc)
        if not block:
            _check_alike([each for each in found if each.failure is None])
    return tuple(found)


def conditions_of(blocks: Sequence[Blocks]) -> tuple[str, ...]:
    """What the machine did that makes the blocks no evidence: conditions that changed, and what disturbed them."""
    records = [record for each in blocks for record in each.records]
    found = []
    for name, path in _SAME_CONDITIONS.items():
        values = dict.fromkeys(str(operator.attrgetter(path)(record.summary)) for record in records)
        if len(values) > 1:
            found.append(f"{name}: {', then '.join(values)}")
    for each in blocks:
        summaries = [record.summary for record in each.records]
        if summaries:
            whole = replace(summaries[-1], interference=_interference(summaries))
            found += [f"{each.label}: {disturbance.value}" for disturbance in whole.disturbances]
    warmths = [record.summary.temperature_start_c for record in records]
    known = [warmth for warmth in warmths if warmth is not None]
    if known and max(known) - min(known) > _MAX_WARMING_C:
        found.append(f"temperature: {min(known):.0f} to {max(known):.0f} °C; let the device settle, then compare again")
    return tuple(found)


def _counted(found: Iterable[tuple[Exceedances, ...]]) -> Iterator[Exceedances]:
    """The exceedances of each limit, of all blocks; they are as bursty as those of the burstiest block."""
    for same in zip(*found, strict=True):
        yield Exceedances(
            same[0].limit,
            sum(each.n for each in same),
            sum(each.count for each in same),
            max(each.dispersion for each in same),
        )


def _interference(summaries: Sequence[RunSummary]) -> Interference:
    """Of all blocks: shares and CPUs are means, the rest sums; None where the kernel does not tell."""
    found = [summary.interference for summary in summaries]

    def total(name: str) -> Any:
        values = [getattr(each, name) for each in found]
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    def mean(name: str) -> float | None:
        whole = total(name)
        return None if whole is None else whole / len(found)

    return Interference(
        waited_share=mean("waited_share"),
        pressure_share=mean("pressure_share"),
        stolen_cpus=mean("stolen_cpus"),
        others_cpus=mean("others_cpus"),
        involuntary_switches=total("involuntary_switches"),
        throttle_events=total("throttle_events"),
        suspended_s=total("suspended_s"),
        clock_step_s=total("clock_step_s"),
    )


def _percentiles(times_s: npt.NDArray[np.float64]) -> Percentiles:
    n = int(times_s.size)
    fractions = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
    found = {
        name: float(np.quantile(times_s, fraction, method="inverted_cdf"))
        for name, fraction in fractions.items()
        if n >= SAMPLE_FLOORS[name]
    }
    return Percentiles(n=n, min=float(times_s.min()), max=float(times_s.max()), **found)


def _tell(progress: Progress, subject: str, what: str, update: Update) -> None:
    progress(Update(subject, f"{what}: {update.text}", update.fraction, quiet=update.quiet))


def _check_alike(found: Sequence[Blocks]) -> None:
    for name, path in _SAME_LOOP.items():
        values = [operator.attrgetter(path)(each.records[0].summary) for each in found]
        if len(set(values)) > 1:
            said = ", ".join(f"{each.label} {value}" for each, value in zip(found, values, strict=True))
            raise UsageError(
                f"their loops differ in {name}: {said}; their response times do not compare",
                hint="give both the same loop: edgectl convert --loop FILE, or edgectl compare --rate for the rate",
            )
