"""Programs are compiled in the torch toolchain, made in the checkout's `.cache/tests` once, and run in it."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.target import frames
from contracts.torch_chains import TorchTargetContract
from edgectl_agent.worker.runtimes.registry import create
from edgectl_converters.targets.base import BuildRequest
from edgectl_converters.targets.registry import target
from edgectl_protos.domain.errors import ToolchainError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class TestAotiTarget(TorchTargetContract):
    target_name = "aoti"
    schemes = ("fp32", "bf16")

    def test_the_same_build_again_gives_the_same_bytes(self, chosen, tmp_path):
        pytest.skip("Inductor writes the time and the folder of its build into the package")

    def test_bf16_is_read_back_and_near(self, chosen, tmp_path):
        runtime = create("aoti", str(self._chain.python))
        offered = runtime.probe().precisions
        runtime.close()
        if "bf16" not in offered:
            pytest.skip("this processor has no bf16 kernels")
        exact = self.build(chosen, tmp_path, tmp_path / "fp32", "fp32")
        half = self.build(chosen, tmp_path, tmp_path / "bf16", "bf16")
        _, there = self.computed(exact, tmp_path / "fp32", "fp32", frames(2))
        precision, here = self.computed(half, tmp_path / "bf16", "bf16", frames(2))
        assert precision == "bf16"
        assert 0 < np.abs(here - there).max() < 0.02 * np.ptp(there)

    def test_what_it_needs_of_a_device_is_in_the_gates(self, chosen, tmp_path):
        (gate,) = self.build(chosen, tmp_path, tmp_path / "out", "fp32").gates
        assert gate.gate == "requires"
        assert gate.note.startswith("torch 2.13.")


def test_a_missing_compiler_is_said_before_anything_is_built(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    request = BuildRequest("aoti", "c", "pt2", "no.pt2", (), (), "fp32", "default", "", str(tmp_path / "out"))
    with pytest.raises(ToolchainError, match=r"needs a C\+\+ compiler"):
        target("aoti").build(request, print)
