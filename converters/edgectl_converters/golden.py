"""Golden cases that can judge a policy: every observation and the action, of one count, of the right shapes; what comes
out finite.
"""

from __future__ import annotations

from pathlib import Path

from edgectl_converters.sources.base import GOLDEN, Export
from edgectl_converters.sources.golden_file import same_shape
from edgectl_converters.sources.npz import read_npz
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import CheckpointError

__all__ = ["check_golden"]

_HINT = "without golden cases nothing is proved; write them anew: edgectl export CHECKPOINT"


def check_golden(export: Export, folder: Path) -> None:
    """Refuse golden cases that cannot judge the export.

    Raises:
        CheckpointError: a tensor is missing, unknown, of another shape or not finite.
    """
    import numpy as np

    golden = read_npz(folder / GOLDEN)
    policy, program = export.policy, export.program
    needed = [f"in.{feature.name}" for feature in policy.observations] + [f"out.{program.action}"]
    for key in needed:
        if key not in golden:
            has = ", ".join(sorted(golden)) or "nothing"
            raise CheckpointError(f"the golden data has no {key}; it has: {has}", hint=_HINT)
    known = {f"in.{feature.name}": policy.observed(feature) for feature in policy.observations}
    known |= {f"{way}.{spec.name}": spec for spec in program.tensors for way in ("in", "out")}
    count = len(golden[needed[0]]) if golden[needed[0]].ndim else 0
    for key, values in golden.items():
        if key not in known:
            raise CheckpointError(f"the golden data has {key}, which the policy does not", hint=_HINT)
        shape = known[key].shape
        per_case = key.startswith("in.") and key[3:] in program.noise
        fits = (
            values.ndim > 0
            and len(values) == count > 0
            and (per_case or -1 in shape or same_shape(values.shape[1:], shape))
        )
        if not fits:
            raise CheckpointError(
                f"{key} of the golden data is {list(values.shape)}; expected {count} cases of {list(shape)}", hint=_HINT
            )
        if known[key].dtype is DType.TEXT:
            continue
        # What is observed need not be finite: a mask, a depth that was not seen. What comes out is compared.
        observed = key.startswith("in.") and not per_case
        if not observed and not np.isfinite(values).all():
            raise CheckpointError(f"{key} of the golden data holds values that are not finite", hint=_HINT)
