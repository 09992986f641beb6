from __future__ import annotations

from contracts.target import TargetContract
from edgectl_protos.domain.artifact import Precision


class TestReferenceTarget(TargetContract):
    target_name = "reference"
    precisions = (Precision.FP32,)
