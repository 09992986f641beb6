"""The observations of a job: where each feature's values come from, and drawing them. On the host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgectl_converters.job import Job
from edgectl_converters.observations import Origin, is_frame, observe, origins_of
from edgectl_protos.domain.errors import RouteError

__all__ = ["check_ranges", "origins_of_job", "write_observations"]


def origins_of_job(job: Job) -> dict[str, Origin]:
    """Where the values of each observed feature come from."""
    path = job.card.path
    spread, ranges = job.source.spread(path), job.source.ranges(path)
    return origins_of(job.card.policy, job.recorded, spread, ranges, task=job.task)


def check_ranges(job: Job) -> None:
    """Refuse to calibrate on frames of which nobody knows how bright they are.

    Raises:
        RouteError: naming the feature.
    """
    origins = origins_of_job(job)
    for feature in job.card.policy.observations:
        if origins[feature.name] is Origin.UNPROVED and is_frame(feature):
            raise RouteError(
                f"{feature.name} takes frames of {feature.dtype.value}, and nothing shows in which range: a "
                "calibration on guessed ones would be wrong",
                hint=f"record some: --footage DIR, with {feature.name}.npy in it, or bring golden data",
            )


def write_observations(job: Job, path: Path, count: int, seed: int) -> Mapping[str, int]:
    """Write observations as an .npz, case first; how many frames the footage of each recorded feature has."""
    import numpy as np

    drawn = observe(
        job.card.policy,
        job.request.footage,
        job.source.spread(job.card.path),
        count=count,
        seed=seed,
        task=job.task,
        resized=job.resized,
        ranges=job.source.ranges(job.card.path),
    )
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=False, **drawn.arrays)
    return drawn.frames
