"""Folds what is done to frames before a component into the component: it then takes the robot's own bytes.

For a port that every call of its component feeds from `[Resize →] Normalise(planes)` of frames of one raw shape, with
equal arrays, those operations go into the ONNX graph, and the steps out of the program. Frames then stay bytes until
the first convolution, and the runtime fuses what it can. The order is transpose (of bytes, a quarter of the memory),
cast, resize, pad, subtract, multiply: the float32 operations of the executor.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgectl_converters.files import link_tree
from edgectl_converters.passes.base import Pass, PassRequest
from edgectl_converters.passes.fold_graph import Folding, fold_into_graph
from edgectl_converters.sources.base import ARRAYS, GOLDEN, ONNX, Export, ExportedComponent
from edgectl_converters.sources.npz import read_npz
from edgectl_converters.targets.base import Target
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.policy import FeatureKind
from edgectl_protos.domain.program import Call, Normalise, Repeat, Resize, Step, flat_steps
from edgectl_protos.domain.program_checks import check_components, check_program
from edgectl_protos.domain.program_flow import reads_of, writes_of

if TYPE_CHECKING:
    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[Any]]

__all__ = ["FoldFrames"]


@dataclass(frozen=True, slots=True)
class _Chain:
    """What feeds a port: the raw frames, and what is done to them."""

    source: str
    folding: Folding


class FoldFrames(Pass):
    """Host-side processing of frames into the graph."""

    name: ClassVar[str] = "fold"
    reads: ClassVar[tuple[str, ...]] = (ONNX,)
    packages: ClassVar[tuple[str, ...]] = ("onnx", "numpy")

    def suits(self, target: Target) -> bool:
        """Folded frames enter as bytes."""
        return target.takes_bytes

    def apply(self, request: PassRequest, progress: Callable[[str], None]) -> Export:
        """Write the components that change, link what does not."""
        folder, out = Path(request.folder), Path(request.out)
        export = request.export
        arrays = _arrays(folder)
        found = {
            component.name: _foldings(export, component, arrays, folder)
            for component in export.components
            if ONNX in component.files
        }
        changed = [component for component in export.components if found.get(component.name)]
        for component in changed:
            progress(f"folding the processing of {', '.join(found[component.name])} into {component.name}")
            foldings = {port: chains[0].folding for port, chains in found[component.name].items()}
            (out / component.files[ONNX]).parent.mkdir(parents=True, exist_ok=True)
            fold_into_graph(folder / component.files[ONNX], out / component.files[ONNX], foldings)
        link_tree(folder, out, without=frozenset(component.files[ONNX] for component in changed))
        return _rewritten(export, found) if changed else export


def _foldings(export: Export, component: ExportedComponent, arrays: Arrays, folder: Path) -> dict[str, list[_Chain]]:
    """Ports that can be folded, each with the chain of every call."""
    calls = [s for s, _ in flat_steps(export.program.steps) if isinstance(s, Call) and s.component == component.name]
    compared = _compared(folder)
    found = {}
    for port in component.inputs:
        chains = [_chain(export, call.inputs[port.name], port, arrays, compared) for call in calls]
        whole = [chain for chain in chains if chain is not None]
        if whole and len(whole) == len(chains) and all(chain.folding == whole[0].folding for chain in whole):
            found[port.name] = whole
    return found


def _chain(export: Export, tensor: str, port: TensorSpec, arrays: Arrays, compared: set[str]) -> _Chain | None:
    program, policy = export.program, export.policy
    writers = {name: step for step in program.steps for name in writes_of(step)}
    normalise = writers.get(tensor)
    if not isinstance(normalise, Normalise) or not normalise.planes or tensor in compared:
        return None
    raw, resize = normalise.input, writers.get(normalise.input)
    if isinstance(resize, Resize) and raw not in compared:
        between = program.tensor(raw)
        if between is not None and between.dtype is DType.FLOAT32:
            raw = resize.input
        else:
            # What is rounded to bytes on the host stays there.
            resize = None
    feature = policy.observation(raw)
    spec = policy.observed(feature) if feature is not None else program.tensor(raw)
    if feature is not None and feature.kind is not FeatureKind.VISUAL:
        return None
    if spec is None or spec.dtype is not DType.UINT8 or -1 in spec.shape or port.dtype is not DType.FLOAT32:
        return None
    extra = len(port.shape) - len(spec.shape)
    if extra not in (0, 1) or (extra and port.shape[0] not in (1, -1)):
        return None
    offset, scale = arrays.get(f"{normalise.array}.offset"), arrays.get(f"{normalise.array}.scale")
    if offset is None or scale is None:
        return None
    return _Chain(
        raw,
        Folding(
            shape=((1,) if extra else ()) + spec.shape,
            planes=((1,) if extra else ()) + port.shape[extra:],
            offset=tuple(map(float, offset.reshape(-1))),
            scale=tuple(map(float, scale.reshape(-1))),
            resize=(resize.fit, resize.anchor) if isinstance(resize, Resize) else None,
        ),
    )


def _rewritten(export: Export, found: dict[str, dict[str, list[_Chain]]]) -> Export:
    """The program with calls that take raw frames, without the steps and tensors that nothing needs any more."""
    program = export.program
    sources: dict[tuple[str, str], list[_Chain]] = {
        (component, port): list(chains) for component, ports in found.items() for port, chains in ports.items()
    }

    def bind(step: Step) -> Step:
        if isinstance(step, Repeat):
            return replace(step, steps=tuple(map(bind, step.steps)))
        if not isinstance(step, Call):
            return step
        inputs = {
            port: sources[step.component, port].pop(0).source if (step.component, port) in sources else tensor
            for port, tensor in step.inputs.items()
        }
        return replace(step, inputs=inputs)

    steps = _needed(tuple(map(bind, program.steps)), program.action, program.states)
    named = {name for step in steps for name in (*reads_of(step), *writes_of(step))}
    named |= {name for step, _ in flat_steps(steps) for name in (*reads_of(step), *writes_of(step))}
    tensors = tuple(spec for spec in program.tensors if spec.name in named or spec.name in program.states)
    new_program = replace(program, steps=steps, tensors=tensors)
    components = tuple(_component(component, found.get(component.name, {})) for component in export.components)
    check_program(export.policy, new_program)
    check_components(new_program, export.policy, {c.name: (c.inputs, c.outputs) for c in components})
    return replace(export, program=new_program, components=components)


def _needed(steps: tuple[Step, ...], action: str, states: tuple[str, ...]) -> tuple[Step, ...]:
    """Without frames' processing whose result nobody reads."""
    while True:
        read = {action, *states, *(name for step in steps for name in reads_of(step))}
        kept = tuple(s for s in steps if not isinstance(s, (Resize, Normalise)) or set(writes_of(s)) & read)
        if kept == steps:
            return steps
        steps = kept


def _component(component: ExportedComponent, ports: dict[str, list[_Chain]]) -> ExportedComponent:
    inputs = tuple(
        TensorSpec(spec.name, DType.UINT8, ports[spec.name][0].folding.shape) if spec.name in ports else spec
        for spec in component.inputs
    )
    return replace(component, inputs=inputs, files={ONNX: component.files[ONNX]})


def _arrays(folder: Path) -> Arrays:
    return read_npz(folder / ARRAYS) if (folder / ARRAYS).exists() else {}


def _compared(folder: Path) -> set[str]:
    """Tensors that golden cases compare: those stay in the program."""
    with zipfile.ZipFile(folder / GOLDEN) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
    return {name[4:] for name in names if name.startswith("out.")}
