"""Programs are lowered in the toolchain, made in the checkout's `.cache/tests` once, and run in its interpreter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from contracts.target import frames
from contracts.torch_chains import CONVOLUTION, InTorchToolchain, TorchTargetContract
from edgectl_protos.codec.pte import read_pte
from edgectl_protos.domain.artifact import precision_of
from edgectl_protos.domain.errors import OperatorError, PrecisionError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# What its lowering was seen to do wrong, each in a graph of the contract's ports; the last is right, and no fp32.
TRAPS = (
    CONVOLUTION
    + """
from torch import nn
torch.manual_seed(0)
torch.backends.mha.set_fastpath_enabled(False)

class Gelu(nn.Module):
    def forward(self, x):
        return nn.functional.gelu(4 * x, approximate="tanh").flatten(1)[:, :4]

class Empty(nn.Module):
    def forward(self, x):
        turned = torch.empty_like(x.permute(0, 2, 3, 1))
        turned[..., :1] = x[:, :1].permute(0, 2, 3, 1)
        turned[..., 1:] = x[:, 1:].permute(0, 2, 3, 1)
        return turned.mean((1, 2)).repeat(1, 2)[:, :4]

class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)
        self.net = nn.Sequential(*layers)
        self.out = nn.Linear(16, 4)
        for one in (self.net[1], self.net[4]):
            one.running_mean.normal_(0, 0.5), one.running_var.uniform_(0.2, 3), one.weight.data.uniform_(0.5, 2)

    def forward(self, x):
        both = [self.net(x).mean((2, 3)), self.net(x.flip(3) * 0.5).mean((2, 3))]
        return self.out(torch.cat(both, 1))

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.net = nn.Linear(16, 32), nn.MultiheadAttention(32, 4, batch_first=True)
        self.norm, self.out = nn.LayerNorm(32), nn.Linear(32, 4)

    def forward(self, x):
        tokens = self.into(x.flatten(1, 2))
        return self.out(self.norm(tokens + self.net(tokens, tokens, tokens)[0]).mean(1))

class Bf16(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(16, 16, dtype=torch.bfloat16), nn.Linear(16, 4, dtype=torch.bfloat16)

    def forward(self, x):
        return self.two(self.one(x.to(torch.bfloat16))).float().mean((1, 2))

class Svd(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x[0, 0, :4, :4])[None]

for net in (Gelu, Empty, Backbone, Attention, Bf16, Svd):
    module = net().eval()
    save(net.__name__, module, torch.zeros(1, 3, 16, 16))
    if net is not Svd:
        x = torch.from_numpy(np.random.default_rng(2).normal(0, 1, (4, 1, 3, 16, 16)).astype(np.float32))
        with torch.no_grad():
            np.save(f"{folder}/{net.__name__}.npy", np.stack([module(one).numpy() for one in x]))
"""
)


class TestExecutorchTarget(TorchTargetContract):
    target_name = "executorch"
    script = TRAPS
    schemes = ("fp32", "int8", "int8-dynamic", "w4g32a8-dynamic")
    programs_of: ClassVar = {"w4g32a8-dynamic": "Attention"}

    def test_it_says_what_it_is_called_reads_and_builds(self, chosen):
        assert (chosen.name, chosen.schemes, chosen.reads) == (self.target_name, self.schemes, ("pt2", "pte"))
        assert all(0 < chosen.tolerance(scheme).rmse < 1 for scheme in chosen.schemes)

    def test_what_it_wrote_is_copied_as_it_is(self, chosen, tmp_path):
        self.build(chosen, tmp_path, tmp_path / "one", "fp32")
        request = replace(
            self.request(tmp_path / "one" / "model.pte", tmp_path / "two", "fp32"),
            form="pte",
        )
        assert self.built(request).gates
        assert (tmp_path / "two" / "model.pte").read_bytes() == (tmp_path / "one" / "model.pte").read_bytes()

    def test_what_stands_in_the_file_is_in_the_gates(self, chosen, tmp_path):
        for scheme, integers in (("fp32", 0), ("int8", 2), ("int8-dynamic", 1)):
            gates = {gate.gate: gate for gate in self.build(chosen, tmp_path, tmp_path / scheme, scheme).gates}
            assert gates["placement"].value == 1.0
            assert "mean.out 1" in gates["placement"].note
            assert (gates["weights"].value, gates["weights"].limit) == (integers, 2)


class TestTraps(InTorchToolchain):
    """Each was seen to go wrong without an error."""

    target_name = "executorch"
    script = TRAPS

    def wrong_by(self, name: str, out: Path, scheme: str, variant: str = "") -> float:
        """The largest error against torch, in parts of the range."""
        expected = np.load(self._programs / f"{name}.npy")
        built = self.built(self.request(self._programs / f"{name}.pt2", out, scheme, variant))
        precision, found = self.computed(built, out, scheme, frames(4))
        assert precision == precision_of(scheme)
        return float(np.abs(found - expected).max() / np.ptp(expected))

    def test_gelu_by_tanh_stays_gelu_by_tanh(self, tmp_path):
        # The one by erf is 4.7e-4 away.
        assert self.wrong_by("Gelu", tmp_path / "out", "fp32") < 2e-6

    def test_what_writes_into_an_empty_tensor_loads(self, tmp_path):
        assert self.wrong_by("Empty", tmp_path / "out", "fp32") < 1e-6

    def test_a_normalised_backbone_that_two_cameras_share_keeps_its_numbers(self, tmp_path):
        assert self.wrong_by("Backbone", tmp_path / "fp32", "fp32") < 1e-5
        assert self.wrong_by("Backbone", tmp_path / "int8", "int8") < 0.05
        # Both calls of both convolutions, and the linear map.
        assert read_pte(tmp_path / "int8" / "model.pte")["forward"].weighted == {("qint8", "qcint8"): 5}

    @pytest.mark.parametrize("scheme", TestExecutorchTarget.schemes)
    def test_attention_is_on_the_delegate_and_its_inner_layers_are_rounded(self, tmp_path, scheme):
        assert self.wrong_by("Attention", tmp_path / "out", scheme) < {"fp32": 1e-5, "w4g32a8-dynamic": 0.2}.get(
            scheme, 0.05
        )
        method = read_pte(tmp_path / "out" / "model.pte")["forward"]
        assert method.delegated["BatchMatrixMultiply"] == 2
        assert not {"aten::where.self_out", "aten::eq.Scalar_out", "aten::any.out"} & set(method.operators)
        # In 4 bits are those whose rows have whole groups.
        rounded = {"fp32": 0, "w4g32a8-dynamic": 3}.get(scheme, 4)
        assert sum(count for (_, weights), count in method.weighted.items() if weights != "fp32") == rounded

    def test_bf16_loses_the_delegate_and_is_refused(self, tmp_path):
        with pytest.raises(PrecisionError, match="outside of XNNPACK"):
            self.built(self.request(self._programs / "Bf16.pt2", tmp_path / "out", "fp32"))

    def test_an_operator_that_cannot_be_lowered_is_named(self, tmp_path):
        with pytest.raises(OperatorError, match="svd"):
            self.built(self.request(self._programs / "Svd.pt2", tmp_path / "out", "fp32"))

    def test_what_does_not_load_in_a_fresh_process_is_no_artifact(self, tmp_path):
        graph = tmp_path / "cut.pte"
        self.built(self.request(self._programs / "graph.pt2", tmp_path / "one", "fp32"))
        graph.write_bytes((tmp_path / "one" / "model.pte").read_bytes()[:2000])
        with pytest.raises(OperatorError, match="does not load and run"):
            self.built(replace(self.request(graph, tmp_path / "two", "fp32"), form="pte"))
