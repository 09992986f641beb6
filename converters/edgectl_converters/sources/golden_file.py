"""Golden cases that a user brings: `in.<tensor>` for what is observed and for noise, `out.<tensor>` for what comes out.

Checked against the program before anything is converted, so that a device's gate meets no surprise.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgectl_converters.sources.npz import read_npz
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import CheckpointError, NonFiniteError, ShapeError
from edgectl_protos.domain.policy import Policy
from edgectl_protos.domain.program import Noise, Program, Repeat, flat_steps

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

__all__ = ["MAKE_HINT", "check_golden", "golden_keys", "same_shape"]

MAKE_HINT = (
    "record it where the policy was trained: numpy.savez('golden.npz', **arrays), a case in each row; see "
    "docs/policy-file.md"
)


def golden_keys(policy: Policy, program: Program) -> tuple[str, ...]:
    """What a golden file of this program must hold, with shapes, as words."""
    shapes = [policy.observed(feature) for feature in policy.observations]
    tensors = [(f"in.{spec.name}", spec.shape) for spec in shapes] + [
        (f"in.{name}", shape) for name, shape in _noise(program).items()
    ]
    tensors.append((f"out.{program.action}", (policy.chunk_size, *policy.action.shape)))
    return tuple(f"{name} [cases{''.join(f', {size}' for size in shape)}]" for name, shape in tensors)


def check_golden(
    path: Path, policy: Policy, program: Program, without: frozenset[str] = frozenset()
) -> dict[str, Array]:
    """The cases, each array in the type of its tensor; `without` these, which the program finds by itself.

    Raises:
        CheckpointError: the file cannot be read, lacks an array, or holds one that the program does not know.
        ShapeError: an array has another shape than its tensor: noise of another length, fewer cases than the others.
        NonFiniteError: a value that is not observed is NaN or infinite.
    """
    arrays = {key: array for key, array in read_npz(path).items() if key not in without}
    wanted = {f"in.{feature.name}": policy.observed(feature) for feature in policy.observations}
    noise = _noise(program)
    wanted |= {f"in.{name}": TensorSpec(name, DType.FLOAT32, shape) for name, shape in noise.items()}
    action = f"out.{program.action}"
    for key in (*wanted, action):
        if key not in arrays:
            raise CheckpointError(
                f"{path.name} has no {key}; it must hold: {'; '.join(golden_keys(policy, program))}", hint=MAKE_HINT
            )
    specs = {spec.name: spec for spec in program.tensors}
    wanted[action] = TensorSpec(program.action, policy.action.dtype, (policy.chunk_size, *policy.action.shape))
    cases = len(arrays[action]) if arrays[action].ndim else 0
    found = {}
    for key, array in arrays.items():
        name = key.removeprefix("out.")
        spec = wanted.get(key) or (specs.get(name) if key.startswith("out.") else None)
        if spec is None:
            raise CheckpointError(f"{path.name} holds {key!r}, and the program has no such tensor", hint=MAKE_HINT)
        drawn = spec.name in noise
        what = f"{path.name}: {'the noise ' if drawn else ''}{key}"
        found[key] = _checked(array, spec, cases, what, observed=key.startswith("in.") and not drawn)
    return found


def _checked(array: Array, spec: TensorSpec, cases: int, what: str, *, observed: bool) -> Array:
    import numpy as np

    if array.ndim == 0 or not cases or len(array) != cases or not same_shape(array.shape[1:], spec.shape):
        raise ShapeError(
            f"{what} is {list(array.shape)}; wanted {cases or 'some'} cases of {list(spec.shape)}",
            hint=MAKE_HINT,
        )
    if spec.dtype is DType.TEXT:
        if array.dtype.kind != "U":
            raise CheckpointError(f"{what} holds {array.dtype}; wanted texts", hint=MAKE_HINT)
        return array
    dtype = np.dtype(spec.dtype.value)
    if array.dtype.kind == "U" or (dtype.kind in "biu" and array.dtype.kind == "f"):
        raise CheckpointError(f"{what} holds {array.dtype}; wanted {dtype}", hint=MAKE_HINT)
    # What is observed need not be finite: a mask, a depth that was not seen. What comes out is compared.
    if array.dtype.kind == "f" and not observed and not np.isfinite(array).all():
        case = int(np.argwhere(~np.isfinite(array))[0][0])
        raise NonFiniteError(
            f"{what}: {int((~np.isfinite(array)).sum())} values are NaN or infinite, the first in case {case}",
            hint="leave such cases out; a mask of minus infinity is as good with the smallest number of its type",
        )
    with np.errstate(over="ignore"):
        found = array.reshape(cases, *spec.shape).astype(dtype)
    if dtype.kind in "biu" and not np.array_equal(found, array.reshape(found.shape)):
        raise CheckpointError(f"{what} holds values that {dtype} does not", hint=MAKE_HINT)
    return found


def same_shape(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether the shapes are one, a leading 1 apart; nothing of another rank is reshaped to fit."""
    return found == wanted or (1, *found) == wanted or found == (1, *wanted)


def _noise(program: Program) -> dict[str, tuple[int, ...]]:
    """Tensors that are drawn; one drawn in a loop has a row a pass."""
    specs = {spec.name: spec.shape for spec in program.tensors}
    found: dict[str, tuple[int, ...]] = {}
    for step in program.steps:
        passes = (step.times,) if isinstance(step, Repeat) else ()
        for inner, _ in flat_steps((step,)):
            if isinstance(inner, Noise):
                found[inner.output] = (*passes, *specs[inner.output])
    return found
