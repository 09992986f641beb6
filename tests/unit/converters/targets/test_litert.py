"""The converter and torch come from their toolchain, made in the checkout's `.cache/tests` once; builds run in its
process, and what they write runs here, in the device's own runtime.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from contracts.target import INPUTS, OUTPUTS, TargetContract, frames, ignore, run
from edgectl_agent.worker.runtimes.litert import _operators
from edgectl_converters.process import ToolchainProcess
from edgectl_converters.targets.base import BuildRequest, Built, Ranking, RankRequest, Target
from edgectl_converters.targets.registry import target
from edgectl_converters.toolchain import Toolchain
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import (
    CheckpointCorruptError,
    OperatorError,
    PrecisionError,
    RouteError,
)
from edgectl_testkit.tflite import convolution_file, tiny_file
from edgectl_testkit.toolchains import toolchain_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Writes programs as sources do: the contract's convolution from its own weights, and what was seen to go wrong.
PROGRAMS = """
import sys, numpy as np, torch
from torch import nn
from edgectl_converters.sources.torch_program import write_program
folder, weights = sys.argv[1], np.load(sys.argv[2])
torch.manual_seed(0)
torch.backends.mha.set_fastpath_enabled(False)

class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel, self.matrix = (nn.Parameter(torch.from_numpy(weights[n])) for n in ("kernel", "matrix"))

    def forward(self, x):
        return nn.functional.conv2d(x, self.kernel, padding=1).relu().mean((2, 3)) @ self.matrix

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj, self.net = nn.Linear(16, 32), nn.MultiheadAttention(32, 4, batch_first=True)

    def forward(self, x):
        tokens = self.proj(x.flatten(1, 2))
        return self.net(tokens, tokens, tokens)[0].mean(1)[:, :4]

class OneCamera(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(16, 4)

    def forward(self, x):
        return torch.cat([self.proj(camera).mean((1, 2)) for camera in x.split(1)])

class DataDependent(nn.Module):
    def forward(self, x):
        return x[:, 0, :, 0].nonzero().float().sum(0).expand(1, 2).repeat(1, 2)

class Counted(nn.Module):
    def forward(self, ids, mask):
        return ids.cumsum(1) + mask.to(torch.int64), ids.sum(1).float()[:, None] / 3

class Svd(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x[0, 0, :4, :4])[None]

class Plain(nn.Module):
    def forward(self, x):
        return x.mean((1, 2))[:, :4]

frame = (torch.randn(1, 3, 16, 16),)
ids = (torch.arange(6)[None], torch.ones(1, 6, dtype=torch.bool))
for module in (Convolution, Attention, OneCamera, DataDependent, Counted, Svd, Plain):
    net = module().eval()
    with torch.no_grad():
        program = torch.export.export(net, ids if module is Counted else frame, strict=False)
    write_program(program, f"{folder}/{module.__name__}.pt2")
"""


@pytest.fixture(scope="module")
def chain() -> Toolchain:
    return toolchain_of("litert")


@pytest.fixture(scope="module")
def programs(chain: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from contracts.target import convolution_graph

    folder = tmp_path_factory.mktemp("programs")
    tensors = {one.name: onnx.numpy_helper.to_array(one) for one in convolution_graph().graph.initializer}
    np.savez(folder / "weights.npz", **tensors)
    command = [str(chain.python), "-W", "ignore", "-c", PROGRAMS, str(folder), str(folder / "weights.npz")]
    subprocess.run(command, check=True, env=chain.environment())
    return folder


@pytest.fixture(scope="module")
def process() -> Iterator[ToolchainProcess]:
    with ToolchainProcess() as process:
        yield process


@pytest.fixture(scope="module")
def rankings() -> dict[str, tuple[str, ...]]:
    """What was measured already, by program: it is the same for all variants, as in a conversion."""
    return {}


class InToolchain:
    """Has the target's builds done where it does them."""

    @pytest.fixture(autouse=True)
    def _here(
        self, chain: Toolchain, programs: Path, process: ToolchainProcess, rankings: dict[str, tuple[str, ...]]
    ) -> None:
        self.chain, self.programs, self.process, self.rankings = chain, programs, process, rankings

    def request(self, name: str, out: Path, scheme: str = "fp32", variant: str = "default") -> BuildRequest:
        # A scheme may have a slash in it.
        out.mkdir(parents=True)
        calibration = str(out.with_suffix(".npz"))
        np.savez(calibration, x=frames(4))
        graph = str(self.programs / f"{name}.pt2")
        wanted = calibration if scheme == "int8" else ""
        return BuildRequest("litert", "c", "pt2", graph, INPUTS, OUTPUTS, scheme, variant, wanted, str(out))

    def built(self, request: BuildRequest) -> Built:
        if target("litert").needs_ranking(request.variant):
            if request.graph not in self.rankings:
                found = self.process.run(self.chain, RankRequest(request), Ranking, ignore)
                self.rankings[request.graph] = found.layers
            request = replace(request, ranking=self.rankings[request.graph])
        return self.process.run(self.chain, request, Built, ignore)


class TestLiteRtTarget(InToolchain, TargetContract):
    target_name = "litert"
    schemes = ("fp32", "w16/a32", "int8", "int8-dynamic", "w4a8-dynamic")

    def build(self, chosen: Target, graph: Path, out: Path, scheme: str, variant: str = "") -> Built:
        if chosen.name != "litert":
            return super().build(chosen, graph, out, scheme, variant)
        return self.built(self.request("Convolution", out, scheme, variant or "default"))

    def test_it_says_what_it_is_called_reads_and_builds(self, chosen: Target) -> None:
        assert (chosen.name, chosen.schemes) == (self.target_name, self.schemes)
        assert chosen.reads == ("pt2", "tflite")

    def test_every_package_that_it_imports_keys_its_builds(
        self, chosen: Target, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        packages = next((self.chain.python.parent.parent / "lib").glob("python*/site-packages"))
        monkeypatch.setattr(sys, "path", [*sys.path, str(packages)])
        super().test_every_package_that_it_imports_keys_its_builds(chosen)

    @pytest.mark.parametrize("domain", ["aten"])
    def test_an_unknown_operator_is_named(self, chosen: Target, tmp_path: Path, domain: str) -> None:
        with pytest.raises(OperatorError, match=rf"litert does not know the operator {domain}\._linalg_svd"):
            self.built(self.request("Svd", tmp_path / "out"))

    def test_weights_outside_of_the_graph_come_along(self, chosen: Target, tmp_path: Path) -> None:
        # A program has its weights inside; a .tflite is one file.
        request = self.request("Convolution", tmp_path / "out")
        self.built(request)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.tflite"]


STORED = {
    "fp32": {"FLOAT32": 2},
    "w16/a32": {"FLOAT16": 2},
    "int8": {"INT8": 2},
    "int8-dynamic": {"INT8": 2},
    "w4a8-dynamic": {"INT4": 1, "INT8": 1},
}


class TestWhatIsReadBack(InToolchain):
    @pytest.mark.parametrize("scheme", STORED)
    def test_the_gates_say_how_layers_are_stored_and_who_runs_them(self, tmp_path: Path, scheme: str) -> None:
        built = self.built(self.request("Convolution", tmp_path / "out", scheme))
        placed, stored = built.gates
        words = ", ".join(f"{count} {name}" for name, count in STORED[scheme].items())
        assert (stored.gate, stored.value, stored.note) == ("weights", 2.0, f"layers stored as {words}")
        assert (placed.gate, placed.value) == ("placement", 1.0)
        assert "in 1 XNNPACK delegates" in placed.note

    def test_a_net_without_layers_is_not_called_int8(self, tmp_path: Path) -> None:
        request = self.request("Plain", tmp_path / "out", "int8-dynamic")
        with pytest.raises(PrecisionError, match="no layer with weights"):
            self.built(request)


class TestWhatWasSeenToGoWrong(InToolchain):
    @pytest.mark.parametrize("scheme", ["int8", "int8-dynamic", "w4a8-dynamic"])
    def test_products_of_activations_stay_floats(self, tmp_path: Path, scheme: str) -> None:
        # Quantised dynamically they gave NaN on ACT.
        exact = self.built(self.request("Attention", tmp_path / "exact"))
        built = self.built(self.request("Attention", tmp_path / "out", scheme))
        kinds = Counter((one.kind, one.precision) for one in _operators(tmp_path / "out" / built.entry))
        assert kinds["BATCH_MATMUL", "fp32"] == 2
        assert kinds["FULLY_CONNECTED", "int8"] >= 3
        _, there = run(target("litert"), exact, tmp_path / "exact", "fp32", frames(4))
        _, here = run(target("litert"), built, tmp_path / "out", scheme, frames(4))
        assert 0 < np.abs(here - there).max() < 0.3 * np.ptp(there)

    def test_a_split_into_one_camera_converts(self, tmp_path: Path) -> None:
        built = self.built(self.request("OneCamera", tmp_path / "out"))
        precision, found = run(target("litert"), built, tmp_path / "out", "fp32", frames(1))
        assert (precision, found.shape) == ("fp32", (1, 1, 4))

    def test_a_shape_that_depends_on_the_data_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(OperatorError):
            self.built(self.request("DataDependent", tmp_path / "out"))

    def test_ports_of_64_bit_integers_and_flags_keep_their_names_and_types(self, tmp_path: Path) -> None:
        inputs = (TensorSpec("obs.ids:0", DType.INT64, (1, 6)), TensorSpec("0", DType.BOOL, (1, 6)))
        outputs = (TensorSpec("sum so far", DType.INT64, (1, 6)), TensorSpec("third", DType.FLOAT32, (1, 1)))
        request = replace(self.request("Counted", tmp_path / "out"), inputs=inputs, outputs=outputs)
        built = self.built(request)
        graph = _loaded(tmp_path / "out", built, inputs, outputs)
        found = graph.infer({"obs.ids:0": np.arange(6)[None] * 5, "0": np.array([[True, False] * 3])})
        assert found["sum so far"].dtype == np.int64
        assert found["sum so far"].tolist() == [[1, 5, 16, 30, 51, 75]]
        np.testing.assert_allclose(found["third"], [[25.0]])

    def test_a_program_that_was_cut_off_is_refused(self, tmp_path: Path) -> None:
        request = self.request("Convolution", tmp_path / "out")
        cut = tmp_path / "cut.pt2"
        cut.write_bytes(Path(request.graph).read_bytes()[:-400])
        with pytest.raises(CheckpointCorruptError, match=r"cut\.pt2"):
            self.built(replace(request, graph=str(cut)))

    @pytest.mark.parametrize(
        "spec", [TensorSpec("x", DType.FLOAT64, (1, 3)), TensorSpec("x", DType.FLOAT32, (-1, 3))], ids=["type", "shape"]
    )
    def test_what_litert_cannot_take_is_refused_before_the_conversion(self, tmp_path: Path, spec: TensorSpec) -> None:
        with pytest.raises(RouteError, match="litert takes fixed shapes"):
            self.built(replace(self.request("Convolution", tmp_path / "out"), inputs=(spec,)))


class TestFilesThatAreThereAlready:
    """A .tflite is taken as it is, with what LiteRT itself says about it: no toolchain is needed for that."""

    def built(self, folder: Path, data: bytes) -> Built:
        (folder / "policy.tflite").write_bytes(data)
        (folder / "out").mkdir()
        request = BuildRequest(
            "litert", "c", "tflite", str(folder / "policy.tflite"), (), (), "fp32", "default", "", str(folder / "out")
        )
        return target("litert").build(request, ignore)

    def test_they_are_copied(self, tmp_path: Path) -> None:
        built = self.built(tmp_path, convolution_file())
        assert (tmp_path / "out" / built.entry).read_bytes() == convolution_file()
        assert built.gates[0].note == "1 of 1 operators in 1 XNNPACK delegates"

    def test_one_that_was_written_short_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointCorruptError, match="LiteRT does not read"):
            self.built(tmp_path, convolution_file()[:-100])

    def test_a_custom_operator_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(OperatorError, match="Frobnicate"):
            self.built(tmp_path, tiny_file(unknown="Frobnicate"))


def _loaded(folder: Path, built: Built, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> Any:
    from edgectl_agent.worker.runtimes.registry import create
    from edgectl_protos.domain.bundle import Component
    from edgectl_protos.domain.parity import Tolerance

    component = Component("c", "litert", "fp32", built.entry, inputs, outputs, Tolerance(1.0, 1.0, 1.0, 1.0))
    return create("litert").load(folder / built.entry, component, 1)
