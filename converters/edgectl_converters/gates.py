"""The gates that fail a conversion, and not a robot.

Errors are relative to the range (max - min) of the expected final actions over all golden cases. The limits follow
what these precisions were measured to do on policies of this kind: fp32 differs by 1e-6 between runtimes, bf16 by
about 1e-2, int8 by a few 1e-2, while a broken conversion is off by 0.5 and more (cosines near 0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgectl_protos.domain.artifact import Precision
from edgectl_protos.domain.bundle import GateResult, Tolerance
from edgectl_protos.domain.errors import NonFiniteError, ParityError, PrecisionError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["TOLERANCES", "check_parity", "check_precision"]

TOLERANCES: dict[Precision, Tolerance] = {
    Precision.FP32: Tolerance(max_abs_of_range=1e-4, min_cosine=0.99999),
    Precision.FP16: Tolerance(max_abs_of_range=0.05, min_cosine=0.999),
    Precision.BF16: Tolerance(max_abs_of_range=0.05, min_cosine=0.999),
    Precision.INT8: Tolerance(max_abs_of_range=0.10, min_cosine=0.99),
}


def check_parity(
    subject: str, found: npt.NDArray[Any], expected: npt.NDArray[Any], tolerance: Tolerance
) -> list[GateResult]:
    """The two figures of the parity gate.

    Raises:
        NonFiniteError: a value is NaN or infinite.
        ParityError: a figure is outside its limit.
    """
    import numpy as np

    if not np.isfinite(found).all():
        raise NonFiniteError(f"{subject}: {int((~np.isfinite(found)).sum())} of {found.size} values are not finite")
    here = found.astype(np.float64).reshape(-1)
    there = expected.astype(np.float64).reshape(-1)
    scale = float(np.ptp(there)) or float(np.abs(there).max(initial=0.0)) or 1.0
    error = float(np.abs(here - there).max(initial=0.0)) / scale
    norms = float(np.linalg.norm(here) * np.linalg.norm(there))
    cosine = float(here @ there) / norms if norms else float(np.array_equal(here, there))
    results = [
        GateResult(
            "parity.max_abs_of_range",
            subject,
            error,
            tolerance.max_abs_of_range,
            error <= tolerance.max_abs_of_range,
        ),
        GateResult("parity.cosine", subject, cosine, tolerance.min_cosine, cosine >= tolerance.min_cosine),
    ]
    if not all(result.passed for result in results):
        raise ParityError(
            f"{subject} differs by {error:.2e} of its range (limit {tolerance.max_abs_of_range:.0e}), "
            f"cosine {cosine:.6f} (at least {tolerance.min_cosine})",
            hint="nothing was written; convert at a higher precision, or with footage of the task: --footage DIR",
        )
    return results


def check_precision(asked: Precision, used: Precision) -> GateResult:
    """The precision gate.

    Raises:
        PrecisionError: the runtime computes at another precision than was asked for.
    """
    if asked is not used:
        raise PrecisionError(
            f"the runtime computes at {used.value}, {asked.value} was asked for",
            hint=f"ask for what it does: --precision {used.value}",
        )
    return GateResult("precision", asked.value, 1.0, 1.0, True, f"{used.value} read back from the runtime")
