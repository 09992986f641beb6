from __future__ import annotations

from contracts.target import TargetContract
from edgectl_protos.domain.artifact import Precision


class TestOnnxRuntimeTarget(TargetContract):
    target_name = "onnxrt"
    precisions = (Precision.FP32, Precision.INT8)
