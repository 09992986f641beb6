"""Steps of a policy file as steps of a program: names filled in, ports bound, what they need remembered.

`Translation.steps` comes first; `declared`, `files` and, once all shapes are known, `arrays` are what it found.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgectl_converters.sources.parts import file as y
from edgectl_converters.sources.parts.arrays import Array, Numbers, coefficients, offset_and_scale, predicted
from edgectl_converters.sources.parts.graphs import Part, inside
from edgectl_converters.sources.parts.tensors import Specs
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import CheckpointError, ProgramError, TokenizerError
from edgectl_protos.domain.program import (
    Anchor,
    Call,
    Ensemble,
    Fit,
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

__all__ = ["Translation"]

_E = TypeVar("_E", bound=enum.Enum)
_MAX_PASSES = 10_000
_MAX_TOKENIZER_BYTES = 256 << 20


class Translation:
    """Translates the steps of one file."""

    def __init__(self, file: y.PolicyFile, parts: Mapping[str, Part], root: Path, numbers: Numbers) -> None:
        self._file = file
        self._parts = parts
        self._root = root
        self._numbers = numbers
        self._ids: set[str] = {step.id for step in _flat(file.steps) if step.id}
        self._affine: dict[str, y.Affine] = {}
        self._loops: dict[str, tuple[y.RepeatStep, dict[str, Array]]] = {}
        self._tables: dict[str, Array] = {}
        self.declared: Specs = {}
        """Tensors whose shape a step says itself; their type is that of a port which they meet."""
        self.slices: dict[str, tuple[int, ...]] = {}
        """Shapes of slices; their type is that of what they are cut from."""
        self.files: dict[str, Path] = {}
        """Paths in the release, and the files that go there."""

    def steps(self) -> tuple[Step, ...]:
        """All steps; without any, one call of the one component.

        Raises:
            CheckpointError: a value makes no sense.
            TokenizerError: a tokenizer is absent.
            ProgramError: a table does not fit its loop, or a component is not there.
        """
        steps = self._file.steps
        if not steps:
            if len(self._parts) != 1:
                raise CheckpointError(f"{len(self._parts)} components and no steps that say their order", hint=y.HINT)
            (name,) = self._parts
            steps = [y.CallStep(component=name)]
        return tuple(self._step(step, None) for step in steps)

    def arrays(self, specs: Specs) -> dict[str, Array]:
        """The arrays that steps name: `<step>.offset`, `<step>.scale`, `<step>.table`, `<loop>.<tensor>`.

        Raises:
            CheckpointError: statistics are missing, of another size, or divide by nothing.
            ProgramError: rows of a loop do not fill their tensor.
        """
        found = dict(self._tables)
        for id_, step in self._affine.items():
            # Normalising, by what enters; un-normalising, by what leaves.
            planes = isinstance(step, y.NormaliseStep) and step.planes
            shape = specs[step.in_ if isinstance(step, y.NormaliseStep) else step.out].shape
            sizes = [math.prod(shape[axis:]) for axis in range(max(len(shape) - 1, 0), -1, -1)]
            allowed = tuple(sizes[:1] if planes else sizes)
            offset, scale = offset_and_scale(step, f"step {id_!r}", allowed, self._numbers)
            found[f"{id_}.offset"], found[f"{id_}.scale"] = offset, scale
        for id_, (loop, rows) in self._loops.items():
            for name, array in rows.items():
                if array.shape[0] != loop.repeat or (name in specs and array[0].size != math.prod(specs[name].shape)):
                    raise ProgramError(
                        f"step {id_!r}: each.{name} has {list(array.shape)} values; wanted {loop.repeat} rows of "
                        f"{list(specs[name].shape) if name in specs else '?'}"
                    )
                dtype = specs[name].dtype.value if name in specs else "float32"
                found[f"{id_}.{name}"] = array.astype(dtype)
        return found

    # --- one step ----------------------------------------------------------------------------------------

    def _step(self, step: y.FileStep, loop: str | None) -> Step:
        if isinstance(step, y.CallStep):
            return self._call(step)
        if isinstance(step, y.RepeatStep):
            if loop is not None:
                raise CheckpointError(
                    f"the loop in {loop!r}: a loop in a loop is not run; write its steps out", hint=y.HINT
                )
            return self._repeat(step)
        id_ = self._id(step.id, str(step.__struct_config__.tag))
        if isinstance(step, y.ResizeStep):
            return self._resize(step, id_)
        if isinstance(step, y.Affine):
            self._affine[id_] = step
            if isinstance(step, y.NormaliseStep):
                return Normalise(id_, step.in_, step.out, id_, step.planes)
            return Unnormalise(id_, step.in_, step.out, id_)
        if isinstance(step, y.SliceStep):
            if step.shape is not None:
                self.slices[step.out] = _sizes(step.out, step.shape)
            return Slice(id_, step.in_, step.out, tuple(step.start))
        if isinstance(step, y.TokeniseStep):
            return self._tokenise(step, id_)
        if isinstance(step, y.NoiseStep):
            self._declare(step.out, step.shape, DType.FLOAT32)
            return Noise(id_, step.out)
        if isinstance(step, y.IntegrateStep):
            return self._integrate(step, id_, loop)
        if isinstance(step, y.EnsembleStep):
            return Ensemble(id_, step.in_, step.out, step.coefficient)
        if step.length:
            self._declare(step.out, [step.length], DType.INT64)
        return Generate(id_, step.component, step.ids, step.out, step.stop_id, step.mask)

    def _call(self, step: y.CallStep) -> Call:
        part = self._parts.get(step.component)
        if part is None:
            raise ProgramError(
                f"the steps run the component {step.component!r}; components are: {', '.join(self._parts) or 'none'}"
            )
        id_ = self._id(step.id, step.component)
        inputs = _bound(step.in_, [port.name for port in part.inputs], f"step {id_!r}, in")
        outputs = _bound(step.out, [port.name for port in part.outputs], f"step {id_!r}, out", rest=not step.out)
        return Call(id_, step.component, inputs, outputs)

    def _resize(self, step: y.ResizeStep, id_: str) -> Resize:
        if len(step.size) != 2 or min(step.size) < 1 or max(step.size) > 1 << 14:
            raise CheckpointError(f"step {id_!r}: size: {step.size} is no [height, width]", hint=y.HINT)
        dtype = _one_of(DType, step.dtype, f"step {id_!r}: dtype")
        entry = self._file.observe.get(step.in_)
        source = list(entry.shape or ()) if entry else list(self._shape_of(step.in_))
        if len(source) < 3:
            raise CheckpointError(f"step {id_!r}: {step.in_!r} is no frame [height, width, channels]", hint=y.HINT)
        lead = [self._file.history] if entry and self._file.history > 1 else []
        self._declare(step.out, [*lead, *source[:-3], *step.size, source[-1]], dtype)
        fit, anchor = (
            _one_of(Fit, step.fit, f"step {id_!r}: fit"),
            _one_of(Anchor, step.anchor, f"step {id_!r}: anchor"),
        )
        return Resize(id_, step.in_, step.out, fit, anchor)

    def _tokenise(self, step: y.TokeniseStep, id_: str) -> Tokenise:
        if not step.file.endswith(".json"):
            raise TokenizerError(
                f"step {id_!r}: {step.file!r} is no file of this folder; nothing is fetched from a hub",
                hint="put the tokenizer.json beside the policy file: tokenizer.save('tokenizer.json')",
            )
        try:
            path = inside(self._root, step.file, f"step {id_!r}")
        except CheckpointError as exc:
            raise TokenizerError(exc.message, hint="put the tokenizer.json beside the policy file") from exc
        _check_tokenizer(path)
        if path not in self.files.values():
            number = len(self.files) + 1
            self.files["tokenizer.json" if number == 1 else f"tokenizer_{number}.json"] = path
        name = next(name for name, known in self.files.items() if known == path)
        if step.length:
            self._declare(step.ids, [step.length], DType.INT64)
        return Tokenise(id_, step.in_, step.ids, step.mask, name, step.pad_id, step.suffix, step.template, step.state)

    def _integrate(self, step: y.IntegrateStep, id_: str, loop: str | None) -> Integrate:
        if loop is None:
            raise CheckpointError(f"step {id_!r} stands outside a loop; put it into the steps of a repeat", hint=y.HINT)
        repeat, times = self._loops[loop]
        where = f"step {id_!r}"
        self._tables[f"{id_}.table"] = coefficients(step, where, times, repeat.repeat, self._numbers)
        return Integrate(
            id_, step.sample, step.prediction, f"{id_}.table", predicted(step, where), step.clip, step.noise
        )

    def _repeat(self, step: y.RepeatStep) -> Repeat:
        id_ = self._id(step.id, "repeat")
        if not 1 <= step.repeat <= _MAX_PASSES or not step.steps:
            raise CheckpointError(f"step {id_!r} is repeated {step.repeat} times, or has no steps", hint=y.HINT)
        rows = {
            name: np.atleast_1d(self._numbers.read(value, f"step {id_!r}: each.{name}", rows=step.repeat))
            for name, value in step.each.items()
        }
        for name, array in rows.items():
            if len(array) != step.repeat:
                raise ProgramError(
                    f"step {id_!r}: each.{name} has {len(array)} rows, and is repeated {step.repeat} times"
                )
        self._loops[id_] = (step, rows)
        inner = tuple(self._step(part, id_) for part in step.steps)
        return Repeat(id_, step.repeat, inner, {name: f"{id_}.{name}" for name in rows})

    # --- names and shapes --------------------------------------------------------------------------------

    def _id(self, given: str, wish: str) -> str:
        if given:
            return given
        id_, number = wish, 2
        while id_ in self._ids:
            id_, number = f"{wish}_{number}", number + 1
        self._ids.add(id_)
        return id_

    def _shape_of(self, name: str) -> tuple[int, ...]:
        entry = self._file.tensors.get(name)
        return tuple(entry.shape) if entry else self.declared[name].shape if name in self.declared else ()

    def _declare(self, name: str, shape: list[int] | None, dtype: DType) -> None:
        if shape is not None:
            self.declared[name] = TensorSpec(name, dtype, _sizes(name, shape))


def _flat(steps: list[y.FileStep]) -> list[Any]:
    return [
        part for step in steps for part in ([step, *_flat(step.steps)] if isinstance(step, y.RepeatStep) else [step])
    ]


def _bound(written: Mapping[str, str], ports: list[str], where: str, *, rest: bool = True) -> dict[str, str]:
    """Ports and their tensors. A `*` in both stands for the same text; a port that is not named has its own name."""
    bound = {}
    for port, tensor in written.items():
        head, star, tail = port.partition("*")
        if not star:
            bound[port] = tensor
            continue
        if "*" in tail or tensor.count("*") != 1:
            raise CheckpointError(f"{where}: {port}: {tensor} needs one * on both sides", hint=y.HINT)
        size = len(head) + len(tail)
        matching = [name for name in ports if name.startswith(head) and name.endswith(tail) and len(name) >= size]
        if not matching:
            raise ProgramError(f"{where}: no port is like {port!r}; there is: {', '.join(ports)}")
        for name in matching:
            bound.setdefault(name, tensor.replace("*", name[len(head) : len(name) - len(tail)]))
    return bound | ({name: name for name in ports if name not in bound} if rest else {})


def _sizes(name: str, shape: list[int]) -> tuple[int, ...]:
    if min(shape, default=1) < 1 or len(shape) > 16 or math.prod(shape) > 1 << 30:
        raise CheckpointError(f"the tensor {name!r} has the shape {shape[:16]}, which is none", hint=y.HINT)
    return tuple(shape)


def _check_tokenizer(path: Path) -> None:
    try:
        size = path.stat().st_size
        document = json.loads(path.read_bytes()) if size <= _MAX_TOKENIZER_BYTES else None
    except (OSError, ValueError, RecursionError) as exc:
        raise TokenizerError(f"{path.name} is not a tokenizer: {' '.join(str(exc).split())[:200]}") from exc
    if not isinstance(document, dict) or "model" not in document:
        raise TokenizerError(
            f"{path.name} is not a tokenizer: it holds no model",
            hint="write it with tokenizers: Tokenizer.save('tokenizer.json')",
        )


def _one_of(kind: type[_E], text: str, where: str) -> _E:
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(str(member.value) for member in kind)
        raise CheckpointError(f"{where}: {text!r} is not known; known: {known}", hint=y.HINT) from None
