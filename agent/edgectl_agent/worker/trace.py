"""What happens inside a program: which calls it makes, what enters and leaves them.

An oracle (the exported graphs, run as they are) writes a trace of the golden cases; a device compares its own with it.
Keys of the .npz, case first: `<call>.in.<port>` for what no component makes, `<call>.out.<port>`, `actions`, and
`contrast.<name>`, the actions of the first cases for another observation at equal noise. Calls are numbered in the
order of one run. Of a large tensor a sample is kept, evenly spread; of one that the program's own steps read, all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from edgectl_agent.worker.comparison import ANOTHER_OBSERVATION
from edgectl_agent.worker.golden import GoldenCases
from edgectl_agent.worker.release import Array
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import DiskFullError, WorkerError
from edgectl_protos.domain.policy import FeatureKind, Policy
from edgectl_protos.domain.program import Call, Generate, Program, Repeat, Step, flat_steps
from edgectl_protos.domain.program_flow import reads_of, writes_of

__all__ = ["ACTIONS", "CONTRAST", "CallSite", "Recording", "Standing", "calls_of", "contrasts", "write_trace"]

ACTIONS = "actions"
CONTRAST = "contrast."
_SAMPLE = 4096
_CONTRAST_CASES = 4
_MAX_CONTRASTS = 8
_OTHER_TASK = "stop and wait"


@dataclass(frozen=True, slots=True)
class CallSite:
    """One call of a run. `made` are the input ports that no component filled: what the program's own steps made, or
    what was observed; `whole` the output ports that the program's own steps read.
    """

    step: str
    component: str
    index: int
    passes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    made: frozenset[str]
    whole: frozenset[str]

    @property
    def name(self) -> str:
        """The step, and which pass of it."""
        return self.step if self.passes == 1 else f"{self.step} {self.index + 1}/{self.passes}"


def calls_of(program: Program) -> tuple[CallSite, ...]:
    """The calls of one run, in order."""
    read: set[str] = {program.action}
    called: set[str] = set()
    written: set[str] = set()
    for step, _ in flat_steps(program.steps):
        if isinstance(step, Call):
            called |= set(writes_of(step))
            continue
        read |= set(reads_of(step))
        # What is generated is a component's too.
        (called if isinstance(step, Generate) else written).update(writes_of(step))
    return tuple(_sites(program.steps, read, called - written, 0, 1))


def _sites(steps: tuple[Step, ...], read: set[str], called: set[str], index: int, passes: int) -> Iterator[CallSite]:
    for step in steps:
        if isinstance(step, Repeat):
            for turn in range(step.times):
                yield from _sites(step.steps, read, called, turn, step.times)
        elif isinstance(step, Call):
            yield CallSite(
                step=step.id,
                component=step.component,
                index=index,
                passes=passes,
                inputs=tuple(step.inputs),
                outputs=tuple(step.outputs),
                made=frozenset(port for port, name in step.inputs.items() if name not in called),
                whole=frozenset(port for port, name in step.outputs.items() if name in read),
            )


@dataclass(slots=True)
class Recording:
    """A hook of the executor that keeps what enters and leaves each call, by key and case; `begin` a case first."""

    sites: tuple[CallSite, ...]
    rows: dict[str, dict[int, Array]] = field(default_factory=dict)
    _case: int = 0
    _call: int = 0

    def begin(self, case: int) -> None:
        """The next calls belong to this case."""
        self._case, self._call = case, 0

    def before(self, component: str, inputs: Mapping[str, Array]) -> None:
        """Keep what no component made."""
        for port in self.sites[self._call].made:
            self._keep(f"{self._call}.in.{port}", _sample(inputs[port]))

    def after(self, component: str, outputs: Mapping[str, Array]) -> None:
        """Keep what came out."""
        site = self.sites[self._call]
        for port in site.outputs:
            self._keep(
                f"{self._call}.out.{port}",
                np.array(outputs[port]) if port in site.whole else _sample(outputs[port]),
            )
        self._call += 1

    def skip(self) -> None:
        """Nothing comes out of this call."""
        self._call += 1

    def _keep(self, key: str, values: Array) -> None:
        self.rows.setdefault(key, {})[self._case] = values

    def arrays(self) -> dict[str, Array]:
        """By key, case first; tensors of a size that changes from case to case are left out."""
        found = {}
        for key, rows in self.rows.items():
            values = [rows[case] for case in sorted(rows)]
            if len({value.shape for value in values}) == 1:
                found[key] = np.stack(values)
        return found


@dataclass(slots=True)
class Standing:
    """A hook that stands in for every component: it gives what the trace has, and keeps what it is given."""

    sites: tuple[CallSite, ...]
    trace: Mapping[str, Array]
    components: Mapping[str, Component]
    recording: Recording
    _case: int = 0
    _call: int = 0

    def begin(self, case: int) -> None:
        """The next calls belong to this case."""
        self._case, self._call = case, 0
        self.recording.begin(case)

    def before(self, component: str, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """The oracle's outputs; zeros where only components read them."""
        self.recording.before(component, inputs)
        site = self.sites[self._call]
        found = {
            spec.name: self.trace[f"{self._call}.out.{spec.name}"][self._case]
            if spec.name in site.whole
            else np.zeros([max(1, size) for size in spec.shape], spec.dtype.value)
            for spec in self.components[component].outputs
            if spec.name in site.outputs
        }
        self._call += 1
        self.recording.skip()
        return found

    def after(self, component: str, outputs: Mapping[str, Array]) -> None:
        """Nothing came out."""


def contrasts(golden: GoldenCases, policy: Policy) -> Iterator[tuple[str, tuple[dict[str, Array], ...]]]:
    """Other observations for the cases: all of another case, then one feature of it, then two like features exchanged.

    Of the first cases, four at most; at most eight contrasts, and none that changes nothing.
    """
    seen = golden.observations[:_CONTRAST_CASES]
    features = policy.observations
    names = [feature.name for feature in features]
    following = (*seen[1:], seen[0])
    others: list[tuple[str, tuple[dict[str, Array], ...]]] = [(ANOTHER_OBSERVATION, following)]
    for feature in features:
        name = feature.name
        if feature.kind is FeatureKind.LANGUAGE and all(np.array_equal(one[name], seen[0][name]) for one in seen):
            # An instruction that is the same in all cases.
            text = np.full_like(seen[0][name], _OTHER_TASK, dtype=f"<U{len(_OTHER_TASK)}")
            others.append((f"another {name}", tuple(one | {name: text} for one in seen)))
        elif len(names) > 1:
            pairs = zip(seen, following, strict=True)
            others.append((f"another {name}", tuple(one | {name: other[name]} for one, other in pairs)))
    cameras = [feature for feature in features if feature.kind is FeatureKind.VISUAL]
    for a, b in combinations(cameras, 2):
        if a.shape == b.shape:
            exchanged = tuple(one | {a.name: one[b.name], b.name: one[a.name]} for one in seen)
            others.append((f"{a.name} and {b.name} exchanged", exchanged))
    for name, observations in others[:_MAX_CONTRASTS]:
        changes = any(
            not np.array_equal(one[key], other[key])
            for one, other in zip(seen, observations, strict=True)
            for key in names
        )
        if changes:
            yield name, observations


def write_trace(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write a trace, the same bytes for the same arrays.

    Raises:
        DiskFullError: there is no room.
        WorkerError: the file cannot be written.
    """
    try:
        with path.open("wb") as file:
            np.savez(file, **dict(sorted(arrays.items())))  # type: ignore[arg-type]
    except OSError as exc:
        error = DiskFullError if exc.errno in (28, 122) else WorkerError
        raise error(f"the trace cannot be written to {path.name}: {exc.strerror}") from exc


def _sample(array: Array) -> Array:
    flat = np.asarray(array).reshape(-1)
    return np.array(flat[:: max(1, -(-flat.size // _SAMPLE))])
