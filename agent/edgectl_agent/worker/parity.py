"""The parity gate: the release's golden cases, from raw observation to final action, on this device.

`out.<action>` is compared after all processing; any other `out.<tensor>` with the graph output of that name.
Errors are judged relative to the range of the expected values over all cases.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgectl_agent.worker.pipeline import Pipeline
from edgectl_agent.worker.release import Array, Release
from edgectl_protos.domain.bundle import Tolerance
from edgectl_protos.domain.deployment import ParityFigure
from edgectl_protos.domain.errors import BundleError, NonFiniteError, ShapeError

__all__ = ["compare", "run_parity"]


def run_parity(release: Release, pipeline: Pipeline, progress: Callable[[float], None]) -> tuple[ParityFigure, ...]:
    """Figures of each golden output; empty when the release has no golden cases.

    Raises:
        BundleError: the golden cases do not fit the policy.
        NonFiniteError: an output holds NaN or infinity.
        ShapeError: an observation or output has another shape than the golden one.
    """
    golden = release.manifest.golden
    if golden is None:
        return ()
    arrays = release.golden()
    features = [feature.name for feature in release.manifest.policy.observations]
    expected = {key[4:]: value for key, value in arrays.items() if key.startswith("out.")}
    missing = [name for name in features if f"in.{name}" not in arrays]
    if missing or not expected:
        raise BundleError(f"{golden.path} has no {f'in.{missing[0]}' if missing else 'outputs'}")
    short = [key for key, value in arrays.items() if len(value) != golden.count]
    if short:
        raise BundleError(f"{golden.path}: {short[0]} has not the {golden.count} cases it should have")
    action = release.manifest.policy.action
    found: dict[str, list[Array]] = {name: [] for name in expected}
    for case in range(golden.count):
        observation = {name: arrays[f"in.{name}"][case] for name in features}
        for name, value in observation.items():
            pipeline.check(name, value)
        outputs = pipeline.infer(pipeline.normalise(observation))
        actions = pipeline.unnormalise(outputs)
        for name in expected:
            if name in ("action", action.name):
                found[name].append(actions)
            elif name in outputs:
                found[name].append(outputs[name].copy())
            else:
                raise BundleError(f"{golden.path} has out.{name}, but the graph has no such output")
        progress((case + 1) / golden.count)
    return tuple(compare(name, np.stack(values), expected[name], golden.tolerance) for name, values in found.items())


def compare(name: str, found: Array, expected: Array, tolerance: Tolerance) -> ParityFigure:
    """How far the found values are from the expected ones; both have the case first.

    Raises:
        NonFiniteError: a value found is NaN or infinite.
        ShapeError: the shapes differ by more than a batch dimension of 1.
    """
    if found.size != expected.size or len(found) != len(expected):
        raise ShapeError(f"{name} is {list(found.shape)} here, {list(expected.shape)} in the golden cases")
    here = found.astype(np.float64).reshape(-1)
    there = expected.astype(np.float64).reshape(-1)
    if not np.isfinite(here).all():
        raise NonFiniteError(f"{int((~np.isfinite(here)).sum())} of {here.size} values of {name} are not finite")
    max_abs = float(np.abs(here - there).max(initial=0.0))
    # A constant output has no range; its own size is the next best scale.
    scale = float(np.ptp(there)) or float(np.abs(there).max(initial=0.0)) or 1.0
    norms = float(np.linalg.norm(here) * np.linalg.norm(there))
    cosine = min(1.0, float(here @ there) / norms) if norms else float(np.array_equal(here, there))
    relative = max_abs / scale
    return ParityFigure(
        output=name,
        cases=len(expected),
        max_abs=max_abs,
        max_abs_of_range=relative,
        cosine=cosine,
        passed=relative <= tolerance.max_abs_of_range and cosine >= tolerance.min_cosine,
    )
