"""One denoising update, in float32 and in place: Euler, DDIM and DDPM as rows of six coefficients.

The formula is that of `domain.program.Integrate`. Coefficients are computed once, in float64, by whoever wrote the
table; here they are applied.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_protos.domain.errors import ProgramError
from edgectl_protos.domain.program import Integrate, Prediction

__all__ = ["integrator"]

Update = Callable[[Array, Array, Array | None, int], None]


def integrator(step: Integrate, shape: tuple[int, ...], table: Array) -> Update:
    """What updates a sample of this shape at a pass: (sample, prediction, noise or None, pass).

    Raises:
        ProgramError: the table is not [passes, 6], or not finite.
    """
    if table.ndim != 2 or table.shape[1] != 6 or not np.isfinite(table).all():
        raise ProgramError(f"step {step.id!r}: the table {step.table!r} is {list(table.shape)}, not [passes, 6]")
    rows = [tuple(np.float32(value) for value in row) for row in table]
    clean = np.empty(shape, np.float32)
    part = np.empty(shape, np.float32)
    clip = np.float32(step.clip)

    def velocity(sample: Array, prediction: Array, noise: Array | None, index: int) -> None:
        _, _, _, q, r, s = rows[index]
        if q != 1:
            np.multiply(sample, q, out=sample)
        np.multiply(prediction, r, out=part)
        np.add(sample, part, out=sample)
        _add_noise(sample, noise, s, part)

    def denoise(sample: Array, prediction: Array, noise: Array | None, index: int) -> None:
        a, b, p, q, r, s = rows[index]
        if step.predicts is Prediction.SAMPLE:
            clean[...] = prediction
        else:
            np.multiply(prediction, b, out=part)
            np.subtract(sample, part, out=clean)
            np.divide(clean, a, out=clean)
        if clip:
            np.clip(clean, -clip, clip, out=clean)
        np.multiply(sample, q, out=sample)
        np.multiply(clean, p, out=clean)
        np.add(sample, clean, out=sample)
        np.multiply(prediction, r, out=part)
        np.add(sample, part, out=sample)
        _add_noise(sample, noise, s, part)

    return velocity if step.predicts is Prediction.VELOCITY else denoise


def _add_noise(sample: Array, noise: Array | None, scale: np.float32, part: Array) -> None:
    if noise is not None and scale:
        np.multiply(noise, scale, out=part)
        np.add(sample, part, out=sample)
