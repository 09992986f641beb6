from __future__ import annotations

from contracts.target import TargetContract


class TestOpenVinoTarget(TargetContract):
    target_name = "openvino"
    schemes = ("fp32", "bf16", "int8")
