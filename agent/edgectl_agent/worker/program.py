"""The executor: runs a policy's program. The loop, the device's parity gate and the host's gates run this code.

A program is compiled once into a flat list of operations (`operations.py`) over named tensors: buffers that the
operations own, arrays that the graphs own, and what is observed. `run` executes the list; spans are recorded where a
table is given. Operations change tensors in place, so results are valid until the next run; the action is a copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgectl_agent.worker.generating import Generating
from edgectl_agent.worker.operations import CallHook, Compiler
from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import Graph, fits
from edgectl_agent.worker.runtimes.generator import Generator
from edgectl_agent.worker.spans import Site, SpanTable
from edgectl_agent.worker.tensors import Operation, Tensors, Values
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import NonFiniteError, ProgramError, ShapeError
from edgectl_protos.domain.policy import Policy
from edgectl_protos.domain.program import Generate, Program
from edgectl_protos.domain.program_checks import check_components, check_program

__all__ = ["CallHook", "Executor"]


class Executor:
    """A program over loaded components.

    `path_of` finds a file of the release. `given` tensors (the noise of a golden case) replace what a run would draw.
    `first_run_s` is the duration of the first run, None before it.

    Raises:
        ProgramError: tensors, components or arrays do not meet.
        EdgectlError: what a step itself refuses.
    """

    def __init__(
        self,
        policy: Policy,
        program: Program,
        arrays: Mapping[str, Array],
        graphs: Mapping[str, Graph],
        *,
        path_of: Callable[[str], Path],
        generators: Mapping[str, Generator] | None = None,
        seed: int = 0,
        hook: CallHook | None = None,
    ) -> None:
        check_program(policy, program)
        check_components(
            program, policy, {name: (graph.component.inputs, graph.component.outputs) for name, graph in graphs.items()}
        )
        self._policy = policy
        self._program = program
        self._observed = {feature.name: policy.observed(feature) for feature in policy.observations}
        self._chunk = (policy.chunk_size, *policy.action.shape)
        self._tensors = Tensors({spec.name: spec for spec in program.tensors} | self._observed, arrays)
        compiler = Compiler(
            self._tensors,
            graphs,
            generators or {},
            states=program.states,
            path_of=path_of,
            random=np.random.default_rng(seed),
            hook=hook,
        )
        self._plan = compiler.compile(program.steps)
        if not self._plan:
            raise ProgramError("the program has no steps")
        last, site = self._plan[-1]
        self._plan[-1] = (self._handing_over(last), site)
        self.sites: tuple[Site, ...] = tuple(compiler.sites)
        self.generations: tuple[Generating, ...] = tuple(compiler.generations)
        self.first_run_s: float | None = None
        self._result: Array

    @property
    def values(self) -> Mapping[str, Any]:
        """All tensors as the last run left them."""
        return self._tensors.values

    @property
    def spans_per_run(self) -> int:
        """How many spans one run records at most."""
        outputs = [step.output for step in self._program.steps if isinstance(step, Generate)]
        return len(self._plan) + sum(int(np.prod(self._tensors.specs[name].shape)) for name in outputs)

    def reset(self) -> None:
        """Begin a new episode: every state is zero again."""
        self._tensors.reset()

    def check(self, name: str, value: Any, *, hint: str = "", one: bool = False) -> None:
        """Refuse an observation that is not of the feature's shape and type; `one`: without its history.

        Raises:
            ShapeError: with what was expected and what came.
        """
        spec = self._observed.get(name)
        if spec is None:
            return
        shape = spec.shape[1:] if one and self._policy.history > 1 else spec.shape
        if spec.dtype is DType.TEXT:
            if value.dtype.kind == "U" and value.shape in ((), shape):
                return
        elif value.dtype == spec.dtype.value and fits(value.shape, shape):
            return
        raise ShapeError(
            f"{name} is {spec.dtype.value}{list(shape)} for this policy, got {value.dtype.name}{list(value.shape)}",
            hint=hint,
        )

    def run(
        self, observation: Mapping[str, Any], spans: SpanTable | None = None, given: Mapping[str, Array] | None = None
    ) -> Array:
        """One inference: the chunk of actions [chunk, *action] in the robot's units, a new array.

        Its spans follow the last one of the table.

        Raises:
            ShapeError: an observation is missing, or the action is not a chunk of actions.
            NonFiniteError: an action holds NaN or infinity.
            DeviceError: a runtime failed.
        """
        if not self._observed.keys() <= observation.keys():
            missing = next(name for name in self._observed if name not in observation)
            raise ShapeError(f"the policy observes {missing}, which was not given")
        tensors = self._tensors
        values = tensors.values
        values.update(observation)
        tensors.given = given or {}
        tensors.spans = spans
        begun = time.perf_counter() if self.first_run_s is None else 0.0
        if spans is None:
            for operation, _ in self._plan:
                operation(values)
        else:
            follow = spans.follow
            for operation, site in self._plan:
                operation(values)
                follow(site)
        if self.first_run_s is None:
            self.first_run_s = time.perf_counter() - begun
        return self._result

    def _handing_over(self, last: Operation) -> Operation:
        """The last step, which also checks and copies the action, so that its span has that time."""
        name = self._program.action

        def run(values: Values) -> None:
            last(values)
            self._result = self._action(values[name])

        return run

    def _action(self, found: Array) -> Array:
        shape = self._chunk
        if found.shape != shape:
            found = self._reshaped(found)
        if found.dtype.kind in "fc" and not np.isfinite(found).all():
            bad = found.size - int(np.count_nonzero(np.isfinite(found)))
            raise NonFiniteError(
                f"{bad} of {found.size} values of {self._program.action!r} are NaN or infinite",
                hint="see which step of the conversion made them: edgectl inspect",
            )
        return found.copy()

    def _reshaped(self, found: Array) -> Array:
        shape = self._chunk
        if -1 in shape:
            # Nothing is known of a bare graph's output but its rank.
            inner = found.shape[max(0, found.ndim - len(shape) + 1) :]
            shape = (shape[0], *inner) if fits(inner, shape[1:]) else shape
        if -1 in shape or found.size != int(np.prod(shape, dtype=np.int64)):
            raise ShapeError(
                f"the action is {list(found.shape)}; the policy says {list(self._chunk)}",
                hint="convert the checkpoint again: edgectl convert",
            )
        return found.reshape(shape)
