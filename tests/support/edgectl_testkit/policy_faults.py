"""Faults that people have shipped, as edits of a release: of its statistics, of what enters its program, of its graphs.

Each works for any policy that has what the fault needs; only a stale cache is a fault of the session that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgectl_agent.worker.session import Session
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.policy import FeatureKind
from edgectl_protos.domain.program import (
    Call,
    Fit,
    Integrate,
    Normalise,
    Repeat,
    Resize,
    Step,
    Tokenise,
    Unnormalise,
    flat_steps,
)
from edgectl_testkit.injected import Array, Fault, Laid

__all__ = ["faults_of"]

_SCALED = "scaled by 2 % (at int8: 15 %)"


def faults_of(release: Path, *, scale: float) -> list[Fault]:
    """Every fault that this policy can have. `scale` is that of the dimension that is scaled, 1.02 or 1.15."""
    laid = Laid(release)
    return [*_of_statistics(laid.manifest, scale), *_of_inputs(laid.manifest), *_of_graphs(laid, scale)]


# --- statistics: what stands in arrays.npz ---------------------------------------------------------------------------


def _of_statistics(manifest: Manifest, scale: float) -> Iterator[Fault]:
    steps = [step for step, _ in flat_steps(manifest.program.steps)]
    post = next(step for step in steps if isinstance(step, Unnormalise))
    states = {one.name for one in manifest.policy.observations if one.kind in (FeatureKind.STATE, FeatureKind.ENV)}
    pre = next((step for step in steps if isinstance(step, Normalise) and step.input in states), None)
    out_scale, out_offset = f"{post.array}.scale", f"{post.array}.offset"
    first = (..., 0)

    def arrays(**changes: Callable[[Array], Array]) -> Callable[[Laid], None]:
        return lambda laid: laid.change_arrays(**changes)

    def times(at: Any, factor: float) -> Callable[[Array], Array]:
        def change(values: Array) -> Array:
            values[at] *= factor
            return values

        return change

    def to(at: Any, value: float) -> Callable[[Array], Array]:
        def change(values: Array) -> Array:
            values[at] = value
            return values

        return change

    yield Fault(
        f"a dimension {_SCALED}, in the statistics",
        arrays(**{out_scale: times(first, scale), out_offset: times(first, scale)}),
    )
    yield Fault("a flipped sign, in the statistics", arrays(**{out_scale: times(first, -1)}))
    if (gripper := _gripper(manifest)) is not None:
        yield Fault("an inverted gripper, in the statistics", arrays(**{out_scale: times((..., gripper), -1)}))
    yield Fault("an action's joint not un-normalised", arrays(**{out_scale: to(first, 1), out_offset: to(first, 0)}))
    if pre is not None:
        in_scale, in_offset = f"{pre.array}.scale", f"{pre.array}.offset"
        yield Fault("a state's joint not normalised", arrays(**{in_scale: to(first, 1), in_offset: to(first, 0)}))
        yield Fault("the state by another deviation (× 1.1)", arrays(**{in_scale: lambda values: values * 1.1}))


# --- what enters: the program ----------------------------------------------------------------------------------------


def _of_inputs(manifest: Manifest) -> Iterator[Fault]:
    steps = [step for step, _ in flat_steps(manifest.program.steps)]
    cameras = [one.name for one in manifest.policy.observations if one.kind is FeatureKind.VISUAL]
    if len(cameras) > 1:
        yield Fault("two cameras swapped, as they enter", lambda laid: laid.change_steps(_swapping(*cameras[:2])))
        if (place := next(_two_cameras(manifest), None)) is not None:
            yield Fault("two cameras swapped, in the graph", lambda laid: _exchange(laid, *place))
    if any(isinstance(step, Resize) for step in steps):

        def other_fit(step: Step) -> Step:
            if not isinstance(step, Resize):
                return step
            return replace(step, fit=Fit.STRETCH if step.fit is Fit.PAD else Fit.PAD)

        yield Fault("a resize of another kind", lambda laid: laid.change_steps(other_fit))
    if any(isinstance(step, Tokenise) and step.suffix for step in steps):

        def no_suffix(step: Step) -> Step:
            return replace(step, suffix="") if isinstance(step, Tokenise) else step

        yield Fault("another suffix of the instruction", lambda laid: laid.change_steps(no_suffix))
    if any(isinstance(step, Repeat) for step in manifest.program.steps):
        yield Fault("one denoising step too few", _one_pass_less)
    prefix = _cache_maker(manifest)
    if prefix:
        yield Fault("a stale KV cache", inside=lambda session: _keep_first(session, prefix))


def _swapping(a: str, b: str) -> Callable[[Step], Step]:
    """Every step that reads one observation reads the other."""
    other = {a: b, b: a}

    def change(step: Step) -> Step:
        if isinstance(step, Call):
            return replace(step, inputs={port: other.get(name, name) for port, name in step.inputs.items()})
        if isinstance(step, (Normalise, Resize)):
            return replace(step, input=other.get(step.input, step.input))
        return step

    return change


def _two_cameras(manifest: Manifest) -> Iterator[tuple[str, str, str]]:
    """A component that takes what was made of two cameras, and the two ports."""
    made = {one.name: one.name for one in manifest.policy.observations if one.kind is FeatureKind.VISUAL}
    for step, _ in flat_steps(manifest.program.steps):
        if isinstance(step, (Normalise, Resize)) and step.input in made:
            made[step.output] = made[step.input]
        elif isinstance(step, Call):
            ports = {made[name]: port for port, name in step.inputs.items() if name in made}
            if len(ports) > 1:
                a, b, *_ = ports.values()
                yield step.component, a, b
            elif len(ports) == 1 and len(step.outputs) == 1:
                made[next(iter(step.outputs.values()))] = next(iter(ports))


def _one_pass_less(laid: Laid) -> None:
    loop = next(step for step in laid.manifest.program.steps if isinstance(step, Repeat))
    laid.change_arrays(**{name: lambda rows: rows[:-1] for name in loop.each.values()})
    laid.change_steps(lambda step: replace(step, times=step.times - 1) if isinstance(step, Repeat) else step)


def _cache_maker(manifest: Manifest) -> str:
    """The component outside of the loop whose outputs the loop's component reads."""
    made: dict[str, str] = {}
    for step in manifest.program.steps:
        if isinstance(step, Call):
            made |= dict.fromkeys(step.outputs.values(), step.component)
        elif isinstance(step, Repeat):
            for inner in step.steps:
                if isinstance(inner, Call):
                    return next((made[name] for name in inner.inputs.values() if name in made), "")
    return ""


def _keep_first(session: Session, component: str) -> None:
    """What the component gave at first stays its answer."""
    assert session._components is not None
    graph = session._components.graphs[component]
    infer = graph.infer
    kept: dict[str, Array] = {}

    def stale(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        if not kept:
            kept.update({name: np.array(value) for name, value in infer(inputs).items()})
        return kept

    graph.infer = stale  # type: ignore[method-assign]


# --- graphs: what a component computes -------------------------------------------------------------------------------


def _of_graphs(release: Laid, scale: float) -> Iterator[Fault]:
    manifest = release.manifest
    calls = [step for step, _ in flat_steps(manifest.program.steps) if isinstance(step, Call)]
    last = calls[-1].component
    part = manifest.component(last)
    assert part is not None
    size = part.outputs[-1].shape[-1]
    loop = any(isinstance(step, Integrate) for step, _ in flat_steps(manifest.program.steps))
    factor = np.ones(size, np.float32)

    def scaled(index: int, by: float) -> Callable[[Laid], None]:
        vector = factor.copy()
        vector[index] = by
        return lambda laid: _after_output(laid, last, [("Mul", ["{}", "fault.by"], ["{fault}"])], {"fault.by": vector})

    what = "velocity" if loop else "action"
    yield Fault(f"a dimension of the {what} {_SCALED}, in the graph", scaled(0, scale))
    yield Fault(f"a flipped sign of the {what}, in the graph", scaled(0, -1.0))
    if (gripper := _gripper(manifest)) is not None:
        yield Fault("an inverted gripper, in the graph", scaled(gripper, -1.0))

    def late(laid: Laid) -> None:
        axis = len(part.outputs[-1].shape) - 2
        most = part.outputs[-1].shape[axis]
        order = np.array([0, *range(most - 1)], np.int64)
        node = helper.make_node("Gather", ["{}", "fault.order"], ["{fault}"], axis=axis)
        _after_output(laid, last, [node], {"fault.order": order})

    yield Fault("a chunk shifted by a step", late)
    if _has_rotary(release):
        yield Fault("the wrong RoPE base", _wrong_base)


def _gripper(manifest: Manifest) -> int | None:
    """The dimension that is one, by its name or its classes."""
    names = [one.at is not None or "gripper" in one.name for one in manifest.policy.dimensions]
    return names.index(True) if any(names) else None


def _after_output(
    laid: Laid,
    component: str,
    nodes: list[onnx.NodeProto | tuple[str, list[str], list[str]]],
    constants: dict[str, Array],
) -> None:
    """Put nodes between the last output of a graph and its name; `{}` is what it was, `{fault}` what it becomes."""
    model = laid.graph(component)
    name = model.graph.output[-1].name
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, one in enumerate(names):
                if one == name:
                    names[index] = f"{name}.before"
    rename = {"{}": f"{name}.before", "{fault}": name}
    for given in nodes:
        node = given if isinstance(given, onnx.NodeProto) else helper.make_node(*given)
        for names in (node.input, node.output):
            for index, one in enumerate(names):
                names[index] = rename.get(one, one)
        model.graph.node.append(node)
    model.graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in constants.items())
    laid.change_graph(component, model)


def _exchange(laid: Laid, component: str, a: str, b: str) -> None:
    """Nodes of the graph that read one of two inputs read the other."""
    model = laid.graph(component)
    other = {a: b, b: a}
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = other.get(name, name)
    laid.change_graph(component, model)


def _wrong_base(laid: Laid) -> None:
    """Tables of rotary angles by ten times their base."""
    for component in laid.manifest.components:
        model = laid.graph(component.name)
        tables = list(_rotary_tables(model))
        for one, function in tables:
            table = numpy_helper.to_array(one)
            turns = np.arange(table.shape[1]) / table.shape[1]
            # At position 1 the angle is the frequency, base^-turns.
            frequencies = np.arccos(table[1]) if function is np.cos else np.arcsin(table[1])
            angles = np.arange(len(table))[:, None] * frequencies * 10.0**-turns
            one.CopyFrom(numpy_helper.from_array(function(angles).astype(table.dtype), one.name))
        if tables:
            laid.change_graph(component.name, model)


def _has_rotary(laid: Laid) -> bool:
    return any(True for component in laid.manifest.components for _ in _rotary_tables(laid.graph(component.name)))


def _rotary_tables(model: onnx.ModelProto) -> Iterator[tuple[TensorProto, Callable[[Array], Array]]]:
    """Constants [position, frequency] that are sines or cosines of angles, which begin at 0."""
    for one in model.graph.initializer:
        if one.data_type != TensorProto.FLOAT or len(one.dims) != 2 or min(one.dims) < 4:
            continue
        table = numpy_helper.to_array(one)
        for function in (np.cos, np.sin):
            if np.all(table[0] == function(0.0)) and np.isclose(table[1, 0], function(1.0)):
                yield one, function
