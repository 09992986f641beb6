"""Coefficients of denoising updates, in float64: a row (a, b, p, q, r, s) a pass, as `domain.program.Integrate` has it.

Numbers are those of diffusers' schedulers: DDIM with eta 0, DDPM with the small fixed variance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from edgectl_protos.domain.program import Prediction

__all__ = ["Row", "alphas_of", "ddim_rows", "ddpm_rows", "euler_rows"]

Row = tuple[float, float, float, float, float, float]


def euler_rows(times: Sequence[float], end: float) -> list[Row]:
    """x + dt * velocity, where dt leads to the next time, and from the last one to `end`."""
    return [(1.0, 0.0, 0.0, 1.0, after - now, 0.0) for now, after in _pairs(times, end)]


def alphas_of(schedule: str, steps: int, start: float, end: float) -> list[float]:
    """Cumulated products of 1 - beta: `linear`, `scaled_linear` or `squaredcos_cap_v2`; KeyError for another name."""
    if schedule == "squaredcos_cap_v2":
        bars = [math.cos((at / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for at in range(steps + 1)]
        betas = [min(1 - after / now, 0.999) for now, after in itertools.pairwise(bars)]
    else:
        # How far the betas, or their roots, are apart: evenly.
        power = {"linear": 1.0, "scaled_linear": 2.0}[schedule]
        low, high = start ** (1 / power), end ** (1 / power)
        betas = [(low + (high - low) * at / max(steps - 1, 1)) ** power for at in range(steps)]
    alphas, product = [], 1.0
    for beta in betas:
        product *= 1.0 - beta
        alphas.append(product)
    return alphas


def ddim_rows(times: Sequence[int], alphas: Sequence[float], final: float, predicts: Prediction) -> list[Row]:
    """`times` are indices into the cumulated `alphas`, noisiest first; after the last one stands `final`."""
    rows = []
    for alpha, after in _pairs([alphas[time] for time in times], final):
        a, b = math.sqrt(alpha), math.sqrt(1 - alpha)
        if predicts is Prediction.NOISE:
            rows.append((a, b, math.sqrt(after), 0.0, math.sqrt(1 - after), 0.0))
        else:
            # The noise that the predicted sample leaves of x.
            share = math.sqrt(1 - after) / b
            rows.append((a, b, math.sqrt(after), share, -share * a, 0.0))
    return rows


def ddpm_rows(times: Sequence[int], alphas: Sequence[float]) -> list[Row]:
    """As `ddim_rows`, with noise added in every pass but the one at time 0."""
    rows = []
    for time, (alpha, after) in zip(times, _pairs([alphas[time] for time in times], 1.0), strict=True):
        now = alpha / after
        beta = 1 - now
        variance = max((1 - after) / (1 - alpha) * beta, 1e-20)
        p, q = math.sqrt(after) * beta / (1 - alpha), math.sqrt(now) * (1 - after) / (1 - alpha)
        rows.append((math.sqrt(alpha), math.sqrt(1 - alpha), p, q, 0.0, math.sqrt(variance) if time > 0 else 0.0))
    return rows


def _pairs(values: Sequence[float], last: float) -> list[tuple[float, float]]:
    return list(zip(values, [*values[1:], last], strict=True))
