"""The steps of a job as data: which are cached, which have to be done, and what those will cost.

Times come from earlier steps of the same kind and tool in the cache, scaled by the size of their checkpoints; disk and
memory from the number of parameters.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass, replace

from edgectl_converters.gates import Proved
from edgectl_converters.job import Build, Job
from edgectl_converters.plan import PlannedStep
from edgectl_converters.sources.base import Export
from edgectl_converters.stages import Bundled, Captured, Traced
from edgectl_converters.steps import StepCache
from edgectl_converters.targets.base import Built, Ranking
from edgectl_converters.toolchain import HOST
from edgectl_converters.workshop import Workshop
from edgectl_protos.domain.roofline import weight_bytes

__all__ = ["planned_steps"]

_FLOAT_BYTES = 4
_EXPORT_MEMORY, _BUILD_MEMORY = 3.0, 2.5
"""Times the weights in fp32, as seen: a policy and its exporter's copies, a graph and its quantizer's."""


@dataclass(frozen=True, slots=True)
class _Node:
    """A step with the steps that it needs when it has to be done."""

    step: PlannedStep
    report: type
    needs: tuple[str, ...]


def planned_steps(job: Job, workshop: Workshop) -> tuple[PlannedStep, ...]:
    """Those to be done and those that are cached; what is neither, nothing needs."""
    proved = workshop.steps.find(job.prove_key, Proved)
    nodes = _nodes(job, workshop, job.attempts[proved.report.variant if proved else 0])
    cached = {key: workshop.steps.find(key, node.report) is not None for key, node in nodes.items()}
    needed: set[str] = set()
    pending = [job.bundle_key]
    while pending:
        key = pending.pop()
        if key not in needed and not cached[key]:
            needed.add(key)
            pending += nodes[key].needs
    steps = [replace(node.step, cached=cached[key]) for key, node in nodes.items() if cached[key] or key in needed]
    if all(step.cached for step in steps):
        return tuple(steps)
    rates = _rates(workshop.steps)
    return tuple(step if step.cached else _estimated(step, job, rates) for step in steps)


def _nodes(job: Job, workshop: Workshop, builds: tuple[Build, ...]) -> dict[str, _Node]:
    made = workshop.toolchains.estimate(job.export_toolchain) if job.export_toolchain != HOST else ""
    note = f"its toolchain is made first: {made}" if made else ""
    nodes = {
        job.export_key: _Node(
            PlannedStep("export", job.name, job.source.name, job.export_toolchain, job.export_key, False, note=note),
            Export,
            (),
        )
    }
    before = job.export_key
    for chosen, key in job.passes:
        nodes[key] = _Node(PlannedStep("pass", job.name, chosen.name, chosen.toolchain, key, False), Export, (before,))
        before = key
    calibrated = [build for build in builds if build.calibrated]
    oracle = tuple(build.key for build in job.oracle)
    tool = job.oracle[0].target.name
    if calibrated or job.traceable:
        for build in job.oracle:
            nodes[build.key] = _build(build, (before,))
    if job.traceable:
        step = PlannedStep("trace", job.name, tool, HOST, job.trace_key, False)
        nodes[job.trace_key] = _Node(step, Traced, oracle)
    if calibrated:
        subject = ", ".join(build.component for build in calibrated)
        step = PlannedStep("capture", subject, tool, HOST, job.capture_key, False)
        nodes[job.capture_key] = _Node(step, Captured, oracle)
    for build in builds:
        needs = (before, *([job.capture_key] if build.calibrated else []))
        if build.rank_key:
            step = PlannedStep(
                "rank", build.component, build.target.name, build.target.toolchain, build.rank_key, False
            )
            nodes[build.rank_key] = _Node(step, Ranking, needs)
            needs += (build.rank_key,)
        nodes[build.key] = _build(build, needs)
    keys = (before, *(build.key for build in builds), *([job.trace_key] if job.traceable else []))
    others = [", ".join(dict.fromkeys(build.variant for build in attempt)) for attempt in job.attempts]
    note = f"the first that passes of: {'; '.join(others)}" if len(others) > 1 else ""
    prove = PlannedStep("prove", job.name, str(job.assignment), HOST, job.prove_key, False, note=note)
    nodes[job.prove_key] = _Node(prove, Proved, keys)
    bundle = PlannedStep("bundle", job.name, "", HOST, job.bundle_key, False)
    nodes[job.bundle_key] = _Node(bundle, Bundled, (job.prove_key, *keys))
    return nodes


def _build(build: Build, needs: tuple[str, ...]) -> _Node:
    words = " ".join(filter(None, (build.scheme, build.variant if build.variant != "default" else "")))
    step = PlannedStep(
        "build", build.component, build.target.name, build.target.toolchain, build.key, False, note=words
    )
    return _Node(step, Built, needs)


def _rates(steps: StepCache) -> dict[tuple[str, str], float]:
    """Seconds a byte of weights, by kind and tool."""
    seen: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for _, record, _ in steps.records():
        if record.weight_bytes:
            seen[record.kind, record.tool].append(record.seconds / record.weight_bytes)
    return {key: statistics.median(values) for key, values in seen.items()}


def _estimated(step: PlannedStep, job: Job, rates: dict[tuple[str, str], float]) -> PlannedStep:
    tool = f"{step.tool} {step.note.split(' ')[0]}" if step.kind == "build" else step.tool
    rate = rates.get((step.kind, tool))
    full = job.card.parameters * _FLOAT_BYTES
    disk = memory = None
    if step.kind == "export":
        disk, memory = full, int(full * _EXPORT_MEMORY)
    elif step.kind == "build":
        share = 1 / len(job.card.components)
        disk = int(job.card.parameters * share * weight_bytes(step.note.split(" ")[0]))
        memory = int(full * share * _BUILD_MEMORY)
    seconds = round(rate * job.card.size_bytes, 1) if rate is not None else None
    return replace(step, estimate_s=seconds, disk_bytes=disk, memory_bytes=memory)
