"""Packages are written in the toolchain, made in the checkout's `.cache/tests` once. What is in one is computed there
by torch, operator by operator: Core ML itself runs on Apple's systems only.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.target import INPUTS
from contracts.torch_chains import CONVOLUTION, InTorchToolchain, TorchTargetContract
from edgectl_converters.targets.base import BuildRequest, Built
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import OperatorError, PrecisionError, RouteError

slow = [pytest.mark.slow, pytest.mark.timeout(900)]

# The contract's graph, one with enough weights to round, and what was seen to go wrong.
PROGRAMS = (
    CONVOLUTION
    + """
from torch import nn
torch.manual_seed(0)

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.into, self.out = nn.Conv2d(3, 64, 3, 2), nn.Linear(64, 64), nn.Linear(64, 4)

    def forward(self, x):
        return self.out(self.into(self.conv(x).mean((2, 3))).relu())

class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.out = nn.Linear(48, 96), nn.Linear(96, 96), nn.Linear(96, 4)

    def forward(self, x):
        return self.out(self.two(self.one(x.flatten(1)[:, :48])))

class Stacked(nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.queries = nn.Linear(256, 64), nn.Parameter(torch.randn(8, 50, 64))

    def forward(self, x):
        keys = self.into(x.flatten(2)).expand(8, 3, 64)
        return torch.bmm(self.queries, keys.transpose(1, 2)).mean((0, 1))[None, :1].repeat(1, 4)

class SharedBias(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.into, self.out = nn.LayerNorm(64), nn.Linear(64, 64), nn.Linear(64, 4)
        nn.init.zeros_(self.into.bias)

    def forward(self, x):
        return self.out(self.into(self.norm(x.flatten(1)[:, :64])))

class Deep(nn.Module):
    def forward(self, x):
        turned = x.reshape(1, 3, 4, 4, 4, 4).permute(0, 5, 1, 3, 2, 4) * 2
        return turned.cumsum(3).sum((1, 2, 3, 4)).sigmoid()

class Svd(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x[0, 0, :4, :4])[None]

class Far(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(16, 4)
        self.register_buffer("mask", torch.tensor([[0.0, -1e9, 0.0, -1e9]]))

    def forward(self, x):
        return (self.out(x.mean((1, 2))) + self.mask).softmax(-1)

for module in (Wide, Odd, Stacked, SharedBias, Deep, Svd, Far):
    save(module.__name__, module(), torch.zeros(1, 3, 16, 16))

class Ports(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(100, 64)

    def forward(self, ids, mask, state):
        return self.table(ids).sum(1) * mask.all() + state, mask.logical_not(), ids + 1

save("Ports", Ports(), torch.zeros(1, 5, dtype=torch.int64), torch.ones(1, 5, dtype=torch.bool), torch.zeros(1, 64))
"""
)

# What is in a package, and what the device's runtime reads from it.
EVALUATE = """
import sys, json, numpy as np, torch
from pathlib import Path
from coremltools.models import MLModel
from edgectl_agent.worker.runtimes.coreml import _floats, _read
from edgectl_converters.targets.mil_weights import _operations

package, calls, out = sys.argv[1:]
operations = _operations(MLModel(package, skip_model_load=True))

def run(x):
    known = {"x": torch.from_numpy(x)}

    def value(one):
        if one.name in known:
            return known[one.name]
        found = one.val if one.op.op_type == "const" else one.op.materialized_val_inference()
        return torch.from_numpy(np.asarray(found).astype(np.float32)) if isinstance(found, np.ndarray) else found
    for op in operations:
        if op.op_type == "const" or op.op_type.startswith("constexpr_"):
            continue
        a = {name: value(one) for name, one in op.inputs.items() if not isinstance(one, (list, tuple))}
        x = a["x"].float()
        if op.op_type == "conv":
            pad = [int(p) for p in a["pad"]][::2] if a["pad_type"] == "custom" else 0
            found = torch.nn.functional.conv2d(x, a["weight"], a.get("bias"), [int(s) for s in a["strides"]], pad)
        elif op.op_type == "linear":
            found = torch.nn.functional.linear(x, a["weight"], a.get("bias"))
        elif op.op_type == "reduce_mean":
            found = x.mean(tuple(int(axis) for axis in a["axes"]), keepdim=bool(a["keep_dims"]))
        else:
            found = {"relu": torch.relu, "cast": lambda x: x, "identity": lambda x: x}[op.op_type](x)
        known[op.outputs[0].name] = found
    return known["y"].numpy()

with torch.no_grad():
    np.save(out, np.stack([run(x) for x in np.load(calls)]))
print(json.dumps(_floats(_read(Path(package)))[0]))
"""


class InCoreMlToolchain(InTorchToolchain):
    target_name = "coreml"
    script = PROGRAMS
    system = "macos15"

    def request(self, program: Path, out: Path, scheme: str, variant: str = "") -> BuildRequest:
        return replace(super().request(program, out, scheme, variant), options={"deployment_target": self.system})

    def build_of(self, name: str, out: Path, scheme: str) -> Built:
        return self.built(self.request(self._programs / f"{name}.pt2", out, scheme))


class TestCoreMlTarget(InCoreMlToolchain, TorchTargetContract):
    pytestmark = slow
    schemes = ("fp32", "fp16", "w8/a16", "w4g32/a16")

    def build(self, chosen: Any, graph: Path, out: Path, scheme: str, variant: str = "") -> Built:
        if chosen.name != self.target_name or scheme in ("fp32", "fp16"):
            return super().build(chosen, graph, out, scheme, variant)
        return self.build_of("Wide", out, scheme)

    def run(self, chosen: Any, built: Built, out: Path, scheme: str, values: Any) -> tuple[str, Any]:
        np.save(out.with_suffix(".in.npy"), values)
        files = [str(out / built.entry), str(out.with_suffix(".in.npy")), str(out.with_suffix(".out.npy"))]
        command = [str(self._chain.python), "-W", "ignore", "-c", EVALUATE, *files]
        done = subprocess.run(command, check=True, env=self._chain.environment(), capture_output=True, text=True)
        (precision,) = set(json.loads(done.stdout.splitlines()[-1]))
        return precision, np.load(files[2])

    def test_it_says_what_it_is_called_reads_and_builds(self, chosen):
        assert (chosen.name, chosen.schemes, chosen.reads) == (self.target_name, self.schemes, ("pt2", "mlpackage"))
        assert all(0 < chosen.tolerance(scheme).rmse < 1 for scheme in chosen.schemes)

    @pytest.mark.parametrize(("scheme", "near"), [("fp16", 1e-3), ("w8/a16", 0.02), ("w4g32/a16", 0.2)])
    def test_what_is_in_the_package_is_near_and_no_more(self, chosen, tmp_path, scheme, near):
        exact, values = self.build_of("Wide", tmp_path / "exact", "fp32"), np.ones((1, *INPUTS[0].shape), np.float32)
        rounded = self.build_of("Wide", tmp_path / "rounded", scheme)
        _, there = self.run(chosen, exact, tmp_path / "exact", "fp32", values)
        precision, here = self.run(chosen, rounded, tmp_path / "rounded", scheme, values)
        assert precision == "fp16"
        assert 0 < np.abs(here - there).max() < near * np.abs(there).max()

    def test_a_package_is_copied_and_read_back_as_it_is(self, tmp_path):
        self.build_of("Wide", tmp_path / "one", "fp16")
        request = self.request(tmp_path / "one" / "model.mlpackage", tmp_path / "two", "fp16")
        gates = {gate.gate: gate for gate in self.built(replace(request, form="mlpackage")).gates}
        assert gates["stored"].value == 3
        assert gates["weights"].note == "nothing to compare with"

    def test_the_files_and_their_sizes_are_recorded(self, tmp_path):
        built = self.build_of("Wide", tmp_path / "out", "fp16")
        settings = built.settings
        assert built.options == {}
        weights = "Data/com.apple.CoreML/weights/weight.bin"
        size = (tmp_path / "out" / "model.mlpackage" / weights).stat().st_size
        assert settings[weights] == f"{size} bytes"
        assert settings["deployment_target"] == "iOS18"


class TestTraps(InCoreMlToolchain):
    """Each was seen to go wrong, most without an error."""

    pytestmark = slow

    def gates_of(self, name: str, out: Path, scheme: str) -> dict[str, Any]:
        return {gate.gate: gate for gate in self.build_of(name, out, scheme).gates}

    def test_what_a_block_does_not_divide_is_named_and_not_just_skipped(self, tmp_path):
        gates = self.gates_of("Odd", tmp_path / "out", "w4g32/a16")
        assert gates["stored"].value == 1
        assert "1 stay fp16 linear, not of whole blocks of 32" in gates["stored"].note
        assert "1 stay fp16 linear, of at most 2048 elements" in gates["stored"].note
        assert 0.1 < gates["weights"].value < gates["weights"].limit

    def test_eight_bits_round_what_has_enough_elements(self, tmp_path):
        gates = self.gates_of("Odd", tmp_path / "out", "w8/a16")
        assert (gates["stored"].value, gates["stored"].note) == (
            2,
            "weights in int8; 1 stay fp16 linear, of at most 2048 elements",
        )
        assert 0.001 < gates["weights"].value < 0.02

    def test_stacked_matrices_do_not_share_scales(self, tmp_path):
        gates = self.gates_of("Stacked", tmp_path / "out", "w4g32/a16")
        assert "1 stay fp16 matmul, whose stacked matrices would share scales" in gates["stored"].note

    def test_a_bias_that_layers_share_with_a_normalisation_stops_nothing(self, tmp_path):
        assert self.gates_of("SharedBias", tmp_path / "out", "w8/a16")["stored"].value == 1

    @pytest.mark.parametrize("scheme", ["w8/a16", "w4g32/a16"])
    def test_a_graph_without_anything_to_round_is_refused(self, tmp_path, scheme):
        with pytest.raises(PrecisionError, match="has no weight that"):
            self.build_of("graph", tmp_path / "out", scheme)

    def test_more_than_five_axes_are_refused(self, tmp_path):
        with pytest.raises(OperatorError, match="only supports tensors with rank <= 5"):
            self.build_of("Deep", tmp_path / "out", "fp32")

    def test_an_unknown_operator_is_named(self, tmp_path):
        with pytest.raises(OperatorError, match="does not know the operator .*svd"):
            self.build_of("Svd", tmp_path / "out", "fp32")

    def test_a_layer_left_in_float32_for_a_constant_that_half_precision_does_not_hold_is_refused(self, tmp_path):
        with pytest.raises(PrecisionError, match="fp16 was asked for, and there are 1 linear in fp32"):
            self.build_of("Far", tmp_path / "out", "fp16")

    def test_integers_booleans_and_reserved_names_are_ports(self, tmp_path):
        inputs = (
            TensorSpec("ids", DType.INT64, (1, 5)),
            TensorSpec("mask", DType.BOOL, (1, 5)),
            TensorSpec("state", DType.FLOAT32, (1, 64)),
        )
        outputs = (
            TensorSpec("a/b:0", DType.FLOAT32, (1, 64)),
            TensorSpec("pad", DType.BOOL, (1, 5)),
            TensorSpec("next", DType.INT64, (1, 5)),
        )
        request = self.request(self._programs / "Ports.pt2", tmp_path / "out", "fp16")
        built = self.built(replace(request, inputs=inputs, outputs=outputs))
        assert json.loads(built.options["ports"]) == {"a/b:0": "a_b_0", "state": "state_workaround"}

    @pytest.mark.parametrize(
        ("system", "scheme", "complaint"),
        [
            ("", "fp16", "does not say deployment_target"),
            ("ios99", "fp16", "knows no deployment_target 'ios99'"),
            ("macos14", "w4g32/a16", "need iOS 18 or macOS 15, and the board's deployment_target is macos14"),
            ("ios15", "w8/a16", "need iOS 16 or macOS 13"),
        ],
    )
    def test_a_system_that_is_missing_unknown_or_too_old_is_refused(self, tmp_path, system, scheme, complaint):
        self.system = system
        with pytest.raises(RouteError, match=complaint):
            self.build_of("Wide", tmp_path / "out", scheme)

    @pytest.mark.parametrize("shape", [(-1, 3, 16, 16), (1, 1, 1, 3, 16, 16), ()])
    def test_a_port_that_core_ml_does_not_take_is_named(self, tmp_path, shape):
        request = self.request(self._programs / "graph.pt2", tmp_path / "out", "fp32")
        with pytest.raises(RouteError, match="'x' is float32"):
            self.built(replace(request, inputs=(TensorSpec("x", DType.FLOAT32, shape),)))

    def test_eight_bits_are_written_for_older_systems_too(self, tmp_path):
        self.system = "ios17"
        assert self.gates_of("Wide", tmp_path / "out", "w8/a16")["stored"].value == 1
