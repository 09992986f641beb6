"""The parity gate: the release's golden cases, from raw observation to final action, through the program itself.

`out.<tensor>` is compared with the program's tensor of that name; the action after all processing. Errors are judged
relative to the range of the expected values over all cases. Cases of a program with states are one sequence; otherwise
each begins anew.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.release import Array, Release
from edgectl_protos.domain.bundle import Tolerance
from edgectl_protos.domain.deployment import ParityFigure
from edgectl_protos.domain.errors import BundleError, NonFiniteError, ShapeError
from edgectl_protos.domain.policy import Ensemble, flat_steps

__all__ = ["compare", "run_parity"]


def run_parity(release: Release, executor: Executor, progress: Callable[[float], None]) -> tuple[ParityFigure, ...]:
    """Figures of each golden tensor; empty when the release has no golden cases.

    Raises:
        BundleError: the golden cases do not fit the policy.
        NonFiniteError: an output holds NaN or infinity.
        ShapeError: an observation or output has another shape than the golden one.
    """
    manifest = release.manifest
    golden = manifest.golden
    if golden is None:
        return ()
    arrays = release.golden()
    program = manifest.program
    features = [feature.name for feature in manifest.policy.observations]
    # Noise that is drawn here is not that of the reference.
    noise = list(program.noise)
    expected = {key[4:]: value for key, value in arrays.items() if key.startswith("out.")}
    missing = [name for name in (*features, *noise) if f"in.{name}" not in arrays]
    if missing or program.action not in expected:
        lacks = f"in.{missing[0]}" if missing else f"out.{program.action}"
        raise BundleError(f"{golden.path} has no {lacks}; it has: {', '.join(sorted(arrays)) or 'nothing'}")
    if golden.count < 1:
        raise BundleError(f"{golden.path} holds no cases")
    for key, value in arrays.items():
        if value.ndim == 0 or len(value) != golden.count:
            raise BundleError(f"{golden.path}: {key} has not the {golden.count} cases it should have")
        if value.dtype.kind not in ("fiub" if key.startswith("out.") else "fiubU"):
            raise BundleError(f"{golden.path}: {key} holds {value.dtype.name}, no numbers")
    if unknown := sorted(name for name in expected if program.tensor(name) is None and name not in features):
        raise BundleError(f"{golden.path} has out.{unknown[0]}, but the program has no such tensor")
    sequence = bool(program.states) or any(isinstance(step, Ensemble) for step, _ in flat_steps(program.steps))
    found: dict[str, list[Array]] = {name: [] for name in expected}
    executor.reset()
    for case in range(golden.count):
        if not sequence:
            executor.reset()
        observation = {name: np.asarray(arrays[f"in.{name}"][case]) for name in features}
        for name, value in observation.items():
            executor.check(name, value)
        actions = executor.run(observation, given={name: arrays[f"in.{name}"][case] for name in noise})
        for name, values in found.items():
            if name == program.action:
                values.append(actions)
            else:
                values.append(np.array(executor.values[name]))
        progress((case + 1) / golden.count)
    executor.reset()
    tolerance = manifest.tolerance
    return tuple(compare(name, np.stack(values), expected[name], tolerance) for name, values in found.items())


def compare(name: str, found: Array, expected: Array, tolerance: Tolerance) -> ParityFigure:
    """How far the found values are from the expected ones; both have the case first.

    Raises:
        NonFiniteError: a value, found or expected, is NaN or infinite.
        ShapeError: the shapes differ by more than dimensions of 1.
    """
    if found.size != expected.size or len(found) != len(expected):
        raise ShapeError(f"{name} is {list(found.shape)} here, {list(expected.shape)} in the golden cases")
    here = found.astype(np.float64).reshape(-1)
    there = expected.astype(np.float64).reshape(-1)
    for values, where in ((here, "here"), (there, "in the golden cases")):
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise NonFiniteError(f"{bad} of {values.size} values of {name} are not finite {where}")
    max_abs = float(np.abs(here - there).max(initial=0.0))
    # A constant output has no range; its own size is the next best scale.
    scale = float(np.ptp(there)) or float(np.abs(there).max(initial=0.0)) or 1.0
    norms = float(np.linalg.norm(here) * np.linalg.norm(there))
    cosine = min(1.0, float(here @ there) / norms) if norms else float(np.array_equal(here, there))
    relative = max_abs / scale
    return ParityFigure(
        tensor=name,
        cases=len(expected),
        max_abs=max_abs,
        max_abs_of_range=relative,
        cosine=cosine,
        passed=relative <= tolerance.max_abs_of_range and cosine >= tolerance.min_cosine,
    )
