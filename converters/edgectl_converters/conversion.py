"""From a checkpoint to a bundle: a request, the plan of its steps, the run of the plan.

Planning looks at names, digests and the cache, imports nothing heavy and makes no toolchain, so a conversion that is
cached costs no more than its plan. `job.py` works out what a request means, `stages.py` does each step.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from edgectl_converters.assignment import Assignment
from edgectl_converters.bundle import read_manifest
from edgectl_converters.estimates import planned_steps
from edgectl_converters.inspect import inspect
from edgectl_converters.job import Job
from edgectl_converters.plan import Conversion, ConversionPlan, ConvertRequest
from edgectl_converters.refusals import keep_refusal
from edgectl_converters.sources.lerobot.source import LeRobotSource, carry
from edgectl_converters.stages import Bundled, Stages
from edgectl_converters.targets.registry import TARGETS
from edgectl_converters.workshop import Progress, Workshop
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.errors import OperatorError, RouteError

__all__ = ["Progress", "Workshop", "export_checkpoint", "find_conversion", "plan_conversion", "run_conversion"]


def plan_conversion(request: ConvertRequest, workshop: Workshop) -> ConversionPlan:
    """What a conversion would do: its steps, in order, and which of them are cached.

    Raises:
        CheckpointError: the checkpoint is not readable as what it claims to be.
        RouteError: a target cannot build a scheme, or the loop reads what is not in the footage.
        LoopSpecError: the loop file is not valid, or does not fit the policy.
        UsageError: the assignment names a component that the policy does not have.
        ToolchainError: a toolchain's choice cannot be read, its interpreter is gone, or a package is missing.
    """
    return ConversionPlan(request, planned_steps(Job.read(request, workshop), workshop))


def find_conversion(request: ConvertRequest, workshop: Workshop) -> Conversion | None:
    """The conversion, if nothing is left to do for it.

    Raises:
        EdgectlError: as `plan_conversion`.
    """
    started = time.monotonic()
    return _found(Job.read(request, workshop), workshop, started)


def run_conversion(request: ConvertRequest | ConversionPlan, workshop: Workshop, progress: Progress) -> Conversion:
    """Convert, or find the conversion in the cache.

    Raises:
        EdgectlError: as `plan_conversion`; and
        GateError: a gate said no.
        ToolchainError: a toolchain cannot be made, or its process failed.
        OperatorError: a runtime does not know an operator.
        SourceError: the footage cannot be read.
        ShapeError: the footage has another shape than the policy takes.
    """
    started = time.monotonic()
    job = Job.read(request.request if isinstance(request, ConversionPlan) else request, workshop)
    found = _found(job, workshop, started)
    if found is not None:
        return found
    try:
        with Stages(job, workshop, progress) as stages:
            return _conversion(stages.bundle().folder, started, cached=False)
    except OperatorError as exc:
        keep_refusal(job.card, job.assignment, workshop, exc)
        raise


def export_checkpoint(
    checkpoint: Path, workshop: Workshop, progress: Progress, *, footage: Path | None = None, task: str = ""
) -> Path:
    """Write the export into a checkpoint's own folder, so that it converts where no torch is; the folder written.

    Raises:
        RouteError: the checkpoint needs no toolchain anyway.
        EdgectlError: as `run_conversion`.
    """
    card = inspect(checkpoint, workshop.digests)
    if card.source != LeRobotSource.name:
        raise RouteError(f"{checkpoint} converts without a toolchain as it is")
    # Any assignment will do: the export does not depend on it.
    request = ConvertRequest(checkpoint, Assignment.of(next(iter(TARGETS)), "fp32"), footage=footage, task=task)
    with Stages(Job.read(request, workshop), workshop, progress) as stages:
        exported = stages.export()
        return carry(card.path, exported.report, exported.folder)


def _found(job: Job, workshop: Workshop, started: float) -> Conversion | None:
    bundle = workshop.steps.find(job.bundle_key, Bundled)
    return _conversion(bundle.folder, started, cached=True) if bundle else None


def _conversion(bundle: Path, started: float, *, cached: bool) -> Conversion:
    manifest, data = read_manifest(bundle)
    return Conversion(bundle, manifest, Digest(hashlib.sha256(data).hexdigest()), cached, time.monotonic() - started)
