"""Toolchains with torch for tests: made in the checkout's `.cache/tests` once, and torch programs written in them."""

from __future__ import annotations

import importlib.metadata
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from contracts.target import INPUTS, OUTPUTS, TargetContract, convolution_graph, frames, ignore, run
from edgectl_agent.worker.runtimes.registry import create
from edgectl_converters.process import ToolchainProcess
from edgectl_converters.targets.base import BuildRequest, Built, Ranking, RankRequest, Target
from edgectl_converters.targets.registry import target
from edgectl_converters.toolchain import Toolchain
from edgectl_testkit.toolchains import toolchain_of

# The contract's graph from its own weights.
CONVOLUTION = """
import sys, numpy as np, torch
from edgectl_converters.sources.torch_program import write_program
folder, weights = sys.argv[1], np.load(sys.argv[2])

class Convolution(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel, self.matrix = (torch.nn.Parameter(torch.from_numpy(weights[n])) for n in ("kernel", "matrix"))

    def forward(self, x):
        hidden = torch.nn.functional.conv2d(x, self.kernel, padding=1).relu().mean((2, 3))
        return torch.nn.functional.linear(hidden, self.matrix.T)

def save(name, module, *args):
    with torch.no_grad():
        write_program(torch.export.export(module.eval(), args, strict=False), f"{folder}/{name}.pt2")

save("graph", Convolution(), torch.zeros(1, 3, 16, 16))
"""


def write_programs(chain: Toolchain, script: str, folder: Path) -> Path:
    """Run a script there with the folder, and the weights of the contract's graph, as its arguments."""
    tensors = {one.name: onnx.numpy_helper.to_array(one) for one in convolution_graph().graph.initializer}
    np.savez(folder / "weights.npz", **tensors)
    command = [str(chain.python), "-W", "ignore", "-c", script, str(folder), str(folder / "weights.npz")]
    subprocess.run(command, check=True, env=chain.environment())
    return folder


class InTorchToolchain:
    """Has a target's programs written and its builds done in its toolchain, and run in the runtime's home there."""

    target_name: str
    script = CONVOLUTION
    """What writes the programs."""

    @pytest.fixture(scope="class")
    @classmethod
    def chain(cls) -> Toolchain:
        return toolchain_of(target(cls.target_name).toolchain)

    @pytest.fixture(scope="class")
    @classmethod
    def programs(cls, chain: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return write_programs(chain, cls.script, tmp_path_factory.mktemp("programs"))

    @pytest.fixture(scope="class")
    @classmethod
    def process(cls) -> Iterator[ToolchainProcess]:
        with ToolchainProcess() as process:
            yield process

    @pytest.fixture(autouse=True)
    def _in_toolchain(
        self, chain: Toolchain, programs: Path, process: ToolchainProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._chain, self._programs, self._process = chain, programs, process
        python, known = str(chain.python), importlib.metadata.packages_distributions()
        there = {name: [name] for name in target(self.target_name).packages}
        monkeypatch.setattr(
            "contracts.target.create", lambda name: create(name, python if name == self.target_name else "")
        )
        monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: {**known, **there})

    def request(self, program: Path, out: Path, scheme: str, variant: str = "") -> BuildRequest:
        """A build of a program of the contract's ports into a folder that is made."""
        chosen = target(self.target_name)
        # A scheme may have a slash.
        out.mkdir(parents=True)
        calibration = ""
        if chosen.needs_calibration(scheme):
            calibration = str(out.with_suffix(".npz"))
            np.savez(calibration, x=frames(4))
        variant = variant or chosen.variants(scheme)[0]
        return BuildRequest(
            self.target_name, "c", "pt2", str(program), INPUTS, OUTPUTS, scheme, variant, calibration, str(out)
        )

    def built(self, request: BuildRequest) -> Built:
        """Built in the toolchain, ranked before where that is asked for."""
        if target(self.target_name).needs_ranking(request.variant):
            ranking = self._process.run(self._chain, RankRequest(request), Ranking, ignore)
            request = replace(request, ranking=ranking.layers)
        return self._process.run(self._chain, request, Built, ignore)

    def computed(self, built: Built, out: Path, scheme: str, values: Any) -> tuple[str, Any]:
        """The precision that the device's runtime reads back, and its outputs."""
        return run(target(self.target_name), built, out, scheme, values)


class TorchTargetContract(InTorchToolchain, TargetContract):
    """The contract for a target that reads `.pt2`."""

    programs_of: Mapping[str, str] = {}
    """The program that a scheme is built from, where the contract's own has nothing for it to round."""

    def build(self, chosen: Target, graph: Path, out: Path, scheme: str, variant: str = "") -> Built:
        if chosen.name != self.target_name:
            return super().build(chosen, graph, out, scheme, variant)
        program = self._programs / f"{self.programs_of.get(scheme, 'graph')}.pt2"
        return self.built(self.request(program, out, scheme, variant))

    def save(self, model: Any, folder: Path) -> Path:
        # What the programs of this contract cannot say is tested by each target itself.
        unknown = {node.op_type for node in model.graph.node} - {
            node.op_type for node in convolution_graph().graph.node
        }
        if unknown:
            pytest.skip(f"torch exports no {', '.join(unknown)}")
        return super().save(model, folder)
