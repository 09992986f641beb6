"""Whether a loaded release computes what it should: its golden cases, from raw observation to final action.

1. The cases in order, by the executor of the loop: the actions.
2. The cases again, each after an unlike one, watched: the same actions, and every call's outputs those of the trace.
3. The cases with the oracle in the place of all components: what the program itself does before, between and after
   them, at the precision of float32 whatever the components compute in.

Without a trace (no oracle could run the graphs) the second looks at the actions alone, and the third is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from edgectl_agent.worker.comparison import Expected, compare_actions, compare_tensor
from edgectl_agent.worker.golden import GoldenCases, read_golden
from edgectl_agent.worker.operations import CallHook
from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.release import Array, Release, read_npz
from edgectl_agent.worker.trace import ACTIONS, CONTRAST, CallSite, Recording, Standing, calls_of, contrasts
from edgectl_protos.domain.errors import BundleError, ShapeError
from edgectl_protos.domain.parity import ParityFigure, ParityReport, Tolerance
from edgectl_protos.domain.program import Generate, flat_steps

__all__ = ["EXACT", "MakeExecutor", "run_parity", "run_trace"]

MakeExecutor = Callable[[CallHook | None], Executor]

EXACT = Tolerance(rmse=1e-3, worst=1e-2, inner=1e-3, unequal=0.0)
"""What float32 arithmetic in another order changes, and less than a wrong constant does."""


def run_parity(release: Release, make: MakeExecutor, progress: Callable[[float], None]) -> ParityReport | None:
    """The figures; None when the release has no golden cases.

    Raises:
        BundleError: the golden cases or the trace do not fit the policy.
        NonFiniteError: an output holds NaN or infinity.
        ShapeError: an observation or output has another shape than the golden one.
    """
    golden = read_golden(release)
    if golden is None:
        return None
    manifest = release.manifest
    trace = _read_trace(release, golden)
    others = {key[len(CONTRAST) :]: value for key, value in trace.items() if key.startswith(CONTRAST)}
    expected = golden.wanted(release, others)
    sites = calls_of(manifest.program)
    executor = make(None)
    values: dict[str, list[Array]] = {name: [] for name in golden.expected if name != golden.action}
    actions = _with_values(golden, executor, values)
    progress(1 / 3)
    figures, dimensions = compare_actions(actions, expected, manifest.tolerance)
    # Of a text's tensors the integers are the prompt's tokens, which no arithmetic changes.
    unequal = 0.0 if manifest.policy.is_text else manifest.tolerance.unequal
    inner = [
        compare_tensor(name, np.stack(found), golden.expected[name], manifest.tolerance.inner, unequal=unequal)
        for name, found in values.items()
    ]
    recording = Recording(sites)
    again = golden.run(make(recording), begin=recording.begin, backwards=True)
    inner += _again(again, actions, expected)
    watched = recording.arrays()
    inner += _calls(sites, watched, trace, release)
    progress(2 / 3)
    inner += _processing(release, golden, expected, make, sites, watched, trace)
    progress(1.0)
    return ParityReport(len(actions), (*figures, *inner), dimensions)


def run_trace(
    release: Release, make: MakeExecutor, progress: Callable[[float], None]
) -> tuple[ParityReport, dict[str, Array]]:
    """What an oracle does on the golden cases and their contrasts, and how far its actions are from the golden ones.

    Raises:
        BundleError: the release has no golden cases, or they do not fit.
        NonFiniteError: an output holds NaN or infinity.
        ShapeError: an observation or output has another shape than the golden one.
    """
    golden = read_golden(release)
    if golden is None:
        raise BundleError("the release has no golden cases to trace")
    recording = Recording(calls_of(release.manifest.program))
    actions = golden.run(make(recording), begin=recording.begin)
    trace = recording.arrays()
    plain = make(None)
    found = list(contrasts(golden, release.manifest.policy))
    others = {}
    for index, (name, observations) in enumerate(found):
        others[name] = golden.run(plain, observations=observations)
        progress((index + 1) / len(found))
    figures, dimensions = compare_actions(actions, golden.wanted(release, others), release.manifest.tolerance)
    report = ParityReport(len(actions), figures, dimensions)
    return report, trace | {ACTIONS: actions} | {f"{CONTRAST}{name}": rows for name, rows in others.items()}


def _read_trace(release: Release, golden: GoldenCases) -> dict[str, Array]:
    described = release.manifest.golden
    if described is None or not described.trace:
        return {}
    found = read_npz(release.path(described.trace))
    for key, rows in found.items():
        cases = len(rows) if rows.ndim else 0
        most = len(golden.observations)
        if not (1 <= cases <= most if key.startswith(CONTRAST) else cases == most) or rows.dtype.kind not in "fiub":
            raise BundleError(f"{described.trace}: {key} is {rows.dtype.name}{list(rows.shape)}, of {most} cases")
    return found


def _with_values(golden: GoldenCases, executor: Executor, values: dict[str, list[Array]]) -> Array:
    """Run the cases; what each left in these tensors is added to them."""

    def keep(case: int) -> None:
        for name, rows in values.items():
            rows.append(np.array(executor.values[name]))

    return golden.run(executor, end=keep)


def _again(again: Array, before: Array, expected: Expected) -> list[ParityFigure]:
    """The dimension that is farthest from itself."""
    shape = expected.actions.shape
    wanted = replace(expected, actions=before.reshape(shape), contrasts={}, use=shape[1])
    return _exact("again, after another case", again, wanted)


def _exact(subject: str, found: Array, expected: Expected) -> list[ParityFigure]:
    """The worst dimension, at the precision of float32."""
    figures, _ = compare_actions(found, expected, EXACT)
    graded = [figure for figure in figures if figure.statistic != "share"]
    return [replace(figure, subject=subject) for figure in _worst(graded)]


def _calls(
    sites: tuple[CallSite, ...], found: Mapping[str, Array], trace: Mapping[str, Array], release: Release
) -> list[ParityFigure]:
    """Each call against the trace, the worst of its outputs; as loose as the loosest component that ran so far. What
    calls in a row round adds up as independent errors do: the limit grows with the root of their number.
    """
    tolerance = Tolerance(0.0, 0.0, 0.0, 0.0)
    figures = []
    for number, site in enumerate(sites):
        component = release.manifest.component(site.component)
        assert component is not None, "a manifest that exists holds what its program runs"
        tolerance = tolerance.loosest(component.tolerance)
        limit = tolerance.inner * math.sqrt(number + 1)
        compared = [
            compare_tensor(site.name, found[key], trace[key], limit, unequal=tolerance.unequal, at=f"output {port}")
            for port in site.outputs
            if (key := f"{number}.out.{port}") in trace and key in found
        ]
        figures += _worst(compared)
    return figures


def _processing(
    release: Release,
    golden: GoldenCases,
    expected: Expected,
    make: MakeExecutor,
    sites: tuple[CallSite, ...],
    watched: Mapping[str, Array],
    trace: Mapping[str, Array],
) -> list[ParityFigure]:
    if any(isinstance(step, Generate) for step, _ in flat_steps(release.manifest.program.steps)):
        # It runs its component by itself, and nothing stands in for that.
        return []
    wanted = [f"{number}.out.{port}" for number, site in enumerate(sites) for port in site.whole]
    if not wanted or any(key not in trace or key not in watched for key in wanted):
        return []
    # Of one size each, or they could not have been compared.
    answers = {key: trace[key].reshape(watched[key].shape).astype(watched[key].dtype) for key in wanted}
    recording = Recording(sites)
    components = {component.name: component for component in release.manifest.components}
    hook = Standing(sites, answers, components, recording)
    actions = golden.run(make(hook), begin=hook.begin)
    if ACTIONS in trace:
        # The oracle's own: what it stands in for, also where the golden ones are a little elsewhere.
        rows, shape = trace[ACTIONS], expected.actions.shape
        if rows.size != expected.actions.size:
            raise ShapeError(f"the trace's actions are {list(rows.shape)}, {list(shape)} in the golden cases")
        expected = replace(expected, actions=rows.reshape(shape))
    compared = _exact("processing", actions, expected)
    made = recording.arrays()
    for number, site in enumerate(sites):
        compared += [
            compare_tensor("processing", made[key], trace[key], EXACT.inner, at=f"input {port} of {site.name}")
            for port in sorted(site.made)
            if (key := f"{number}.in.{port}") in trace and key in made
        ]
    return _worst(compared)


def _worst(figures: list[ParityFigure]) -> list[ParityFigure]:
    """The one nearest to its limit, or farthest beyond; none of none. Whatever is beyond a limit of 0 is farthest."""

    def share(figure: ParityFigure) -> float:
        if figure.limit:
            return figure.value / figure.limit
        return 0.0 if figure.passed else math.inf

    return sorted(figures, key=share)[-1:]
