"""Compiles the steps of a program into operations: functions that change the tensors, one after the other.

Loops are written out. An operation keeps its buffers, so that the next graph finds its inputs where it found them last
time, and has nothing to bind; views are kept for the same reason. A state is copied to its own place by whatever
writes it: a graph may hold its input and its output in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgectl_agent.worker.generating import Generating, generation
from edgectl_agent.worker.ops.ensemble import TemporalEnsemble
from edgectl_agent.worker.ops.integrate import integrator
from edgectl_agent.worker.ops.normalise import normaliser, unnormaliser
from edgectl_agent.worker.ops.resize import frame_resizer
from edgectl_agent.worker.ops.tokenise import tokeniser
from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import Graph
from edgectl_agent.worker.runtimes.generator import Generator
from edgectl_agent.worker.spans import Site
from edgectl_agent.worker.tensors import Operation, Tensors, Values
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import ProgramError, ShapeError
from edgectl_protos.domain.program import (
    Call,
    Ensemble,
    Generate,
    Integrate,
    Noise,
    Normalise,
    Repeat,
    Resize,
    Slice,
    Step,
    Tokenise,
    Unnormalise,
)
from edgectl_protos.domain.program_flow import reads_of, writes_of

__all__ = ["CallHook", "Compiler"]


class CallHook(Protocol):
    """Watches the calls of components, and may answer in their place."""

    def before(self, component: str, inputs: Mapping[str, Array]) -> Mapping[str, Array] | None:
        """What enters a component; outputs are taken instead of running it."""

    def after(self, component: str, outputs: Mapping[str, Array]) -> None:
        """What came out of it."""


class Compiler:
    """Makes operations over these tensors and loaded components. `sites` says where the spans of each belong,
    `generations` which of them generate.

    The first step that runs a component has its graph; every other one a fork of it.
    """

    def __init__(
        self,
        tensors: Tensors,
        graphs: Mapping[str, Graph],
        generators: Mapping[str, Generator],
        *,
        states: tuple[str, ...],
        path_of: Callable[[str], Path],
        random: np.random.Generator,
        hook: CallHook | None,
    ) -> None:
        self.sites: list[Site] = []
        self.generations: list[Generating] = []
        self._tensors = tensors
        self._graphs = graphs
        self._generators = generators
        self._states = states
        self._path_of = path_of
        self._random = random
        self._hook = hook
        self._taken: set[str] = set()
        for name in states:
            tensors.keep(name)

    def compile(self, steps: tuple[Step, ...]) -> list[tuple[Operation, int]]:
        """The operations of these steps in order, each with the number of its site.

        Raises:
            ProgramError: a step cannot be run as it stands.
            EdgectlError: what a step itself refuses.
        """
        plan: list[tuple[Operation, int]] = []
        for step in steps:
            if isinstance(step, Repeat):
                plan += self._repeat(step)
            else:
                site = self._site(step, -1, 1)
                plan.append((self._operation(step, -1, 1), site))
        return plan

    def _repeat(self, step: Repeat) -> list[tuple[Operation, int]]:
        tables = [self._table(step, name, array) for name, array in step.each.items()]
        plan: list[tuple[Operation, int]] = []
        made: dict[str, Operation] = {}
        for index in range(step.times):
            first = len(plan)
            for part in step.steps:
                if isinstance(part, (Repeat, Generate)):
                    raise ProgramError(f"step {part.id!r}: {part.op} inside a loop is not run")
                site = self._site(part, index, step.times)
                # Only what looks at the pass is made for each; a graph keeps its one set of buffers.
                if part.id not in made or isinstance(part, (Integrate, Noise)):
                    made[part.id] = self._operation(part, index, step.times)
                plan.append((made[part.id], site))
            if tables and first < len(plan):
                operation, site = plan[first]
                plan[first] = (_after(_setter(tables, index), operation), site)
        return plan

    def _site(self, step: Step, index: int, passes: int) -> int:
        component = step.component if isinstance(step, (Call, Generate)) else ""
        self.sites.append(Site(step.id, step.op, component, index, passes))
        return len(self.sites) - 1

    def _table(self, step: Repeat, name: str, array: str) -> tuple[Array, Array]:
        rows = self._tensors.array(step.id, array)
        buffer = self._tensors.buffer(name)
        if rows.shape[:1] != (step.times,) or rows[0].size != buffer.size:
            raise ProgramError(
                f"step {step.id!r}: the array {array!r} is {list(rows.shape)}; wanted {step.times} rows of "
                f"{list(buffer.shape)}"
            )
        return buffer, np.ascontiguousarray(rows.reshape(step.times, *buffer.shape), buffer.dtype)

    def _operation(self, step: Step, index: int, passes: int) -> Operation:
        states = [(name, self._tensors.buffer(name)) for name in writes_of(step) if name in self._states]
        if isinstance(step, Call):
            made = self._call(step)
        else:
            self._check_fixed(step)
            made = self._own(step, index, passes)
        return _keeping(made, states) if states else made

    def _own(self, step: Step, index: int, passes: int) -> Operation:
        """The operation of a step that runs no graph of its own."""
        specs, arrays = self._tensors.specs, self._tensors.arrays
        if isinstance(step, Integrate):
            return self._integrate(step, index)
        if isinstance(step, Noise):
            return self._noise(step, max(index, 0), passes)
        if isinstance(step, Tokenise):
            return self._tokenise(step)
        if isinstance(step, Ensemble):
            return self._ensemble(step)
        if isinstance(step, Generate):
            return self._generate(step)
        if isinstance(step, Slice):
            return self._slice(step)
        assert isinstance(step, (Resize, Normalise, Unnormalise)), step.op
        source, target = specs[step.input], specs[step.output]
        if isinstance(step, Resize):
            return _one_to_one(step.input, step.output, frame_resizer(step, source, target))
        if isinstance(step, Normalise):
            return _one_to_one(step.input, step.output, normaliser(step, source, target, arrays))
        return _one_to_one(step.input, step.output, unnormaliser(step, source, target, arrays))

    def _check_fixed(self, step: Step) -> None:
        for name in (*reads_of(step), *writes_of(step)):
            spec = self._tensors.specs[name]
            if any(size < 0 for size in spec.shape):
                raise ProgramError(f"step {step.id!r}: {name!r} has a free dimension: {list(spec.shape)}")
            if (spec.dtype is DType.TEXT) != (isinstance(step, Tokenise) and name == step.input):
                raise ProgramError(f"step {step.id!r} cannot take or give {name!r}, which is {spec.dtype.value}")

    def _call(self, step: Call) -> Operation:
        graph = self._graphs[step.component]
        if step.component in self._taken:
            graph = graph.fork()
        self._taken.add(step.component)
        specs = self._tensors.specs
        ranks = {spec.name: len(spec.shape) for spec in (*graph.component.inputs, *graph.component.outputs)}

        def lead(port: str, tensor: str) -> bool:
            return ranks[port] == len(specs[tensor].shape) + 1

        inputs = [
            (port, name, _kept_view(_with_lead) if lead(port, name) else None) for port, name in step.inputs.items()
        ]
        outputs = [
            (port, name, _kept_view(_without_lead) if lead(port, name) else None) for port, name in step.outputs.items()
        ]
        infer = graph.infer if self._hook is None else _hooked(self._hook, step.component, graph.infer)

        def run(values: Values) -> None:
            feeds = {port: values[name] if view is None else view(values[name]) for port, name, view in inputs}
            found = infer(feeds)
            for port, name, view in outputs:
                values[name] = found[port] if view is None else view(found[port])

        return run

    def _integrate(self, step: Integrate, index: int) -> Operation:
        buffer = self._tensors.buffer(step.sample)
        table = self._tensors.array(step.id, step.table)
        if not 0 <= index < len(table):
            raise ProgramError(f"step {step.id!r}: the table {step.table!r} has {len(table)} rows, wanted {index + 1}")
        if buffer.dtype != np.float32:
            raise ProgramError(f"step {step.id!r}: {step.sample!r} is {buffer.dtype.name}, and is kept in float32")
        update = integrator(step, buffer.shape, table)
        sample, prediction, noise = step.sample, step.prediction, step.noise

        def run(values: Values) -> None:
            if values[sample] is not buffer:
                # What a graph wrote, or what was observed, is not ours to change.
                np.copyto(buffer, values[sample])
                values[sample] = buffer
            update(buffer, values[prediction], values[noise] if noise else None, index)

        return run

    def _noise(self, step: Noise, row: int, passes: int) -> Operation:
        buffer = self._tensors.buffer(step.output)
        if buffer.dtype != np.float32:
            raise ProgramError(f"step {step.id!r}: noise is float32, {step.output!r} is {buffer.dtype.name}")
        name, random, tensors = step.output, self._random, self._tensors
        wanted = (passes, *buffer.shape) if passes > 1 else buffer.shape

        def run(values: Values) -> None:
            given = tensors.given.get(name)
            if given is None:
                random.standard_normal(out=buffer, dtype=np.float32)
            elif given.size != passes * buffer.size or given.dtype.kind != "f":
                raise ShapeError(
                    f"the noise {name!r} is {given.dtype.name}{list(given.shape)}; the policy takes {list(wanted)}"
                )
            else:
                buffer[...] = given.reshape(passes, *buffer.shape)[row]
            values[name] = buffer

        return run

    def _tokenise(self, step: Tokenise) -> Operation:
        specs = self._tensors.specs
        convert = tokeniser(step, self._path_of(step.file), specs[step.ids], specs[step.mask])

        def run(values: Values) -> None:
            # Of a history of texts the newest counts.
            text = values[step.input].reshape(-1)[-1]
            values[step.ids], values[step.mask] = convert(str(text), values[step.state] if step.state else None)

        return run

    def _ensemble(self, step: Ensemble) -> Operation:
        shape = self._tensors.specs[step.output].shape
        source = self._tensors.specs[step.input].shape
        inner = source[1:] if len(source) == len(shape) + 1 else source
        if not inner or int(np.prod(inner[1:], dtype=np.int64)) != int(np.prod(shape, dtype=np.int64)) or 0 in inner:
            raise ProgramError(f"step {step.id!r} cannot make {list(shape)} of a chunk {list(source)}")
        ensemble = TemporalEnsemble(inner[0], step.coefficient)
        self._tensors.on_reset(ensemble.reset)

        def run(values: Values) -> None:
            values[step.output] = ensemble(values[step.input].reshape(inner)).reshape(shape)

        return run

    def _generate(self, step: Generate) -> Operation:
        generator = self._generators.get(step.component)
        if generator is None:
            raise ProgramError(f"step {step.id!r}: the component {step.component!r} keeps no cache to generate with")
        generating = Generating(step.id, step.component, generator, self._tensors.buffer(step.output).size)
        self.generations.append(generating)
        return generation(step, generating, self._tensors, self.sites)

    def _slice(self, step: Slice) -> Operation:
        into, of = self._tensors.specs[step.output], self._tensors.specs[step.input]
        inner = of.shape[1:] if len(into.shape) == len(of.shape) - 1 else of.shape
        start = step.start or (0,) * len(into.shape)
        # The ellipsis keeps a part without dimensions an array.
        spans = (slice(first, first + size) for first, size in zip(start, into.shape, strict=True))
        part: tuple[Any, ...] = (*spans, ...)
        view = _kept_view(lambda array: array.reshape(inner)[part])
        apart = np.empty(into.shape, of.dtype.value)

        def run(values: Values) -> None:
            found = view(values[step.input])
            if not found.flags.c_contiguous:
                # Copied once here, not by the graph at each of its passes.
                np.copyto(apart, found)
                found = apart
            values[step.output] = found

        return run


def _hooked(
    hook: CallHook, component: str, infer: Callable[[Mapping[str, Array]], Mapping[str, Array]]
) -> Callable[[Mapping[str, Array]], Mapping[str, Array]]:
    def run(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        found = hook.before(component, feeds)
        if found is None:
            found = infer(feeds)
            hook.after(component, found)
        return found

    return run


def _one_to_one(source: str, target: str, convert: Callable[[Array], Array]) -> Operation:
    def run(values: Values) -> None:
        values[target] = convert(values[source])

    return run


def _keeping(operation: Operation, states: list[tuple[str, Array]]) -> Operation:
    def run(values: Values) -> None:
        operation(values)
        for name, buffer in states:
            if values[name] is not buffer:
                np.copyto(buffer, values[name])
                values[name] = buffer

    return run


def _kept_view(make: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The same array again gets the same view, which a graph need not bind again."""
    source: Array | None = None
    made: Array | None = None

    def view(array: Array) -> Array:
        nonlocal source, made
        if made is None or array is not source:
            source, made = array, make(array)
        return made

    return view


def _with_lead(array: Array) -> Array:
    return array[None]


def _without_lead(array: Array) -> Array:
    if array.shape[0] != 1:
        raise ShapeError(f"a component gave {list(array.shape)} where one of {list(array.shape[1:])} was expected")
    # Not array[0], which of one dimension is a copy.
    return array.reshape(array.shape[1:])


def _setter(tables: list[tuple[Array, Array]], index: int) -> Operation:
    rows = [(buffer, table[index]) for buffer, table in tables]

    def run(values: Values) -> None:
        for buffer, row in rows:
            np.copyto(buffer, row)

    return run


def _after(first: Operation, second: Operation) -> Operation:
    def run(values: Values) -> None:
        first(values)
        second(values)

    return run
