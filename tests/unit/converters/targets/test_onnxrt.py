from __future__ import annotations

from contracts.target import TargetContract


class TestOnnxRuntimeTarget(TargetContract):
    target_name = "onnxrt"
    schemes = ("fp32", "int8")
