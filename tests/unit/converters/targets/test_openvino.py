from __future__ import annotations

from contracts.target import TargetContract
from edgectl_protos.domain.artifact import Precision


class TestOpenVinoTarget(TargetContract):
    target_name = "openvino"
    precisions = (Precision.FP32, Precision.BF16, Precision.INT8)
