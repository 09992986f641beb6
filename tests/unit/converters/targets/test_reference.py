from __future__ import annotations

from contracts.target import TargetContract


class TestReferenceTarget(TargetContract):
    target_name = "reference"
    schemes = ("fp32",)
