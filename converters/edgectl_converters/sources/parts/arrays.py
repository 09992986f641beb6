"""Numbers of a policy file as arrays: written out, named in an .npz (`stats.npz:state.mean`), or a `linspace`.

From them the arrays that steps name: offset and scale of statistics, rows of times, tables of coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgectl_converters.sources.npz import read_npz
from edgectl_converters.sources.parts.file import HINT, Affine, IntegrateStep
from edgectl_converters.sources.parts.graphs import inside
from edgectl_converters.sources.schedules import Row, alphas_of, ddim_rows, ddpm_rows, euler_rows
from edgectl_protos.domain.errors import CheckpointError, ProgramError
from edgectl_protos.domain.program import Prediction

__all__ = ["Array", "Numbers", "coefficients", "offset_and_scale"]

Array = npt.NDArray[Any]

_MAX_VALUES = 1 << 24
_BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")
_PAIRS = (("mean", "std"), ("min", "max"), ("offset", "scale"))


class Numbers:
    """Reads numbers of a policy file; `files` are the .npz files that were opened for it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._opened: dict[str, dict[str, Array]] = {}

    @property
    def files(self) -> tuple[Path, ...]:
        """What was read beside the policy file."""
        return tuple(self._root / name for name in self._opened)

    def read(self, value: Any, where: str, *, rows: int = 0) -> Array:
        """A number, nested lists of them, `FILE.npz:KEY`, or `{linspace: [FIRST, LAST]}` of as many as `rows`.

        Raises:
            CheckpointError: it is none of these, or not finite.
        """
        if isinstance(value, str):
            array = self._named(value, where)
        elif isinstance(value, dict):
            array = _linspace(value, where, rows)
        else:
            try:
                array = np.asarray(value, np.float64)
            except (ValueError, TypeError, OverflowError) as exc:
                raise CheckpointError(f"{where} is neither a number nor lists of equally many", hint=HINT) from exc
        if array.dtype.kind not in "biuf" or not array.size or array.size > _MAX_VALUES:
            raise CheckpointError(f"{where} holds no numbers, or too many: {array.dtype}{list(array.shape)}", hint=HINT)
        if not np.isfinite(array).all():
            raise CheckpointError(f"{where} holds a value that is not finite")
        return array

    def _named(self, text: str, where: str) -> Array:
        file, colon, key = text.rpartition(".npz:")
        if not colon or not file or not key:
            raise CheckpointError(
                f"{where}: {text[:80]!r} is no number; write FILE.npz:KEY to name an array", hint=HINT
            )
        file += ".npz"
        if file not in self._opened:
            self._opened[file] = read_npz(inside(self._root, file, where))
        if key not in self._opened[file]:
            raise CheckpointError(
                f"{where}: {file} has no {key!r}; it has: {', '.join(self._opened[file]) or 'nothing'}"
            )
        return self._opened[file][key]


def offset_and_scale(step: Affine, where: str, sizes: tuple[int, ...], numbers: Numbers) -> tuple[Array, Array]:
    """The offset and scale of y = (x - offset) / scale, of one of these sizes; one number stands for the first of them.

    Raises:
        CheckpointError: not one pair of statistics is given, they have another size, or divide by nothing.
    """
    given = [pair for pair in _PAIRS if any(getattr(step, key) is not None for key in pair)]
    if len(given) != 1 and not (not given and step.divide != 1):
        raise CheckpointError(f"{where} needs one pair: mean and std, min and max, or offset and scale", hint=HINT)
    if not math.isfinite(step.divide) or not step.divide:
        raise CheckpointError(f"{where}: divide: {step.divide} makes no sense")
    offset, scale = (np.zeros(1), np.ones(1)) if not given else _pair(step, given[0], where, numbers)
    found_sizes = {offset.size, scale.size} - {1}
    if len(found_sizes) > 1 or not found_sizes <= set(sizes):
        raise CheckpointError(
            f"{where}: {given[0][0]} has {offset.size} values and {given[0][1]} {scale.size}; wanted {sizes[0]}"
        )
    count = next(iter(found_sizes), sizes[0])
    scale = np.broadcast_to(scale.reshape(-1), (count,)) * step.divide
    offset = np.broadcast_to(offset.reshape(-1), (count,)) * step.divide
    found = offset.astype(np.float32), scale.astype(np.float32)
    if not found[1].all() or not np.isfinite(found).all():
        raise CheckpointError(
            f"{where} divides by 0, or by what float32 does not hold: element {int(np.argmin(np.abs(found[1])))}",
            hint="where a value never changes, let std be 1 (or max differ from min)",
        )
    return found


def _pair(step: Affine, pair: tuple[str, str], where: str, numbers: Numbers) -> tuple[Array, Array]:
    for key in pair:
        if getattr(step, key) is None:
            raise CheckpointError(f"{where} has {pair[0]} or {pair[1]} alone; both are needed", hint=HINT)
    first, second = (numbers.read(getattr(step, key), f"{where}.{key}").astype(np.float64) for key in pair)
    if pair != ("min", "max"):
        return first, second
    if len(step.to) != 2 or not step.to[0] < step.to[1]:
        raise CheckpointError(f"{where}: to: {step.to} is no range; write [-1, 1] or [0, 1]")
    low, high = step.to
    try:
        scale = (second - first) / (high - low)
        return first - low * scale, scale
    except ValueError as exc:
        raise CheckpointError(f"{where}: min has {first.size} values and max {second.size}") from exc


def coefficients(step: IntegrateStep, where: str, times: Mapping[str, Array], passes: int, numbers: Numbers) -> Array:
    """The table [passes, 6] of an integrate step. `times` are the rows that the loop's `each` gives its tensors.

    Raises:
        CheckpointError: the method, or what it needs, is missing or makes no sense.
        ProgramError: a table has another number of passes.
    """
    if step.table is not None:
        table = numbers.read(step.table, f"{where}.table")
    else:
        methods: Mapping[str, Callable[[], list[Row]]] = {
            "euler": lambda: _euler(step, where, times, passes),
            "ddim": lambda: ddim_rows(
                *_denoising(step, where, times, numbers), step.final_alpha, predicted(step, where)
            ),
            "ddpm": lambda: ddpm_rows(*_denoising(step, where, times, numbers)),
        }
        if step.method not in methods:
            raise CheckpointError(
                f"{where}: the method {step.method!r} is not known; known: {', '.join(methods)}, or a table", hint=HINT
            )
        try:
            table = np.asarray(methods[step.method](), np.float64)
        except (ValueError, ArithmeticError) as exc:
            raise CheckpointError(f"{where}: these alphas and times give no coefficients: {exc}", hint=HINT) from exc
    if table.shape != (passes, 6) or not np.isfinite(table).all():
        raise ProgramError(f"{where}: the table is {list(table.shape)}; wanted [{passes}, 6], finite")
    return table


def predicted(step: IntegrateStep, where: str) -> Prediction:
    """What the prediction is: velocity for Euler and noise for the others, unless the step says.

    Raises:
        CheckpointError: it is not known.
    """
    text = step.predicts or ("noise" if step.method in ("ddim", "ddpm") else "velocity")
    known = [member.value for member in Prediction]
    denoiser = step.method in ("ddim", "ddpm")
    if text not in known or (denoiser and text == "velocity") or (step.method == "euler" and text != "velocity"):
        raise CheckpointError(
            f"{where}: predicts: {text} is not for {step.method or 'a table'}; known: {', '.join(known)}"
        )
    return Prediction(text)


def _euler(step: IntegrateStep, where: str, times: Mapping[str, Array], passes: int) -> list[Row]:
    if (step.dt is None) == (not step.times):
        raise CheckpointError(f"{where} needs dt, or times: the tensor of the loop's `each` that holds them", hint=HINT)
    if step.dt is not None:
        return [(1.0, 0.0, 0.0, 1.0, step.dt, 0.0)] * passes
    return euler_rows([float(time) for time in _times(step, where, times)], step.end)


def _denoising(
    step: IntegrateStep, where: str, times: Mapping[str, Array], numbers: Numbers
) -> tuple[list[int], list[float]]:
    if (step.alphas is None) == (not step.betas):
        raise CheckpointError(f"{where} needs alphas (cumulated), or betas and train_steps", hint=HINT)
    if step.betas:
        if step.betas not in _BETAS:
            raise CheckpointError(f"{where}: betas: {step.betas!r} is not known; known: {', '.join(_BETAS)}")
        if not 1 <= step.train_steps <= 100_000 or not 0 < step.beta_start <= step.beta_end < 1:
            raise CheckpointError(f"{where}: train_steps {step.train_steps} or the betas make no schedule", hint=HINT)
        alphas = alphas_of(step.betas, step.train_steps, step.beta_start, step.beta_end)
    else:
        alphas = [float(alpha) for alpha in numbers.read(step.alphas, f"{where}.alphas").reshape(-1)]
    wanted = [float(time) for time in _times(step, where, times)]
    if any(time != int(time) or not 0 <= time < len(alphas) for time in wanted):
        raise CheckpointError(f"{where}: the times are no whole numbers of 0 to {len(alphas) - 1}: {wanted[:4]}")
    return [int(time) for time in wanted], alphas


def _times(step: IntegrateStep, where: str, times: Mapping[str, Array]) -> Array:
    if step.times not in times:
        raise CheckpointError(
            f"{where}: times: {step.times!r} is no tensor of the loop's each; it has: {', '.join(times) or 'none'}"
        )
    rows = times[step.times]
    if rows.size != len(rows):
        raise CheckpointError(f"{where}: {step.times!r} has {rows.size // len(rows)} values a pass, not one time")
    return rows.reshape(-1)


def _linspace(value: Mapping[str, Any], where: str, rows: int) -> Array:
    ends, endpoint = value.get("linspace"), value.get("endpoint", True)
    numbers = isinstance(ends, list) and len(ends) == 2 and all(isinstance(end, (int, float)) for end in ends)
    if not numbers or not isinstance(endpoint, bool) or set(value) - {"linspace", "endpoint"} or not rows:
        raise CheckpointError(
            f"{where}: write {{linspace: [FIRST, LAST]}}, and endpoint: false to stop before LAST", hint=HINT
        )
    first, last = ends  # type: ignore[misc]
    return np.linspace(float(first), float(last), rows, endpoint=endpoint)
