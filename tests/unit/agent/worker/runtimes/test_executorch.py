"""The runtime lives in its toolchain's interpreter, made in the checkout's `.cache/tests` once: it is asked there."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.runtime import RuntimeContract, expected_action, graph_inputs
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.codec.pte import read_pte
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, DocumentError, RuntimeMissingError
from edgectl_testkit.bundles import tiny_component
from edgectl_testkit.toolchains import toolchain_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# The tiny policy, with and without the names of its ports, and one whose names are in another order.
PROGRAMS = """
import sys, torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower

class Tiny(torch.nn.Module):
    def forward(self, top, wrist, state):
        total = top.mean((1, 2, 3)) + wrist.mean((1, 2, 3)) + 0.5 * state.sum(1)
        base = 0.01 * torch.arange(4)[:, None] + 0.1 * torch.arange(2)
        return total[:, None, None] + base

frame = torch.zeros(1, 3, 8, 10)
program = torch.export.export(Tiny(), (frame, frame.clone(), torch.zeros(1, 3)), strict=False)
named, turned = ["top\\twrist\\tstate", "action"], ["wrist\\ttop\\tstate", "action"]
for name, ports in (("named", named), ("turned", turned), ("bare", None)):
    methods = {"edgectl_ports": ports} if ports else {}
    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], constant_methods=methods)
    open(f"{sys.argv[1]}/{name}.pte", "wb").write(edge.to_executorch().buffer)
"""


@pytest.fixture(scope="module")
def python() -> str:
    return str(toolchain_of("executorch").python)


@pytest.fixture(scope="module")
def programs(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    subprocess.run([python, "-W", "ignore", "-c", PROGRAMS, str(folder)], check=True)
    return folder


class TestExecutorchRuntime(RuntimeContract):
    runtime_name = "executorch"
    library = "executorch"
    entry = "model.pte"

    @pytest.fixture(autouse=True)
    def _over_there(self, python, programs):
        self.python, self.programs = python, programs

    def create(self):
        return create(self.runtime_name, self.python)

    def files(self):
        return {"model.pte": (self.programs / "named.pte").read_bytes()}

    def give_it_an_unknown_operator(self, artifact):
        data = artifact.read_bytes()
        assert b"aten::mean\0" in data
        artifact.write_bytes(data.replace(b"aten::mean\0", b"aten::mead\0"))
        return "aten::mead"

    def test_a_missing_library_is_said_with_what_installs_it(self, artifact, component):
        # The interpreter of the tests has no torch.
        runtime = create(self.runtime_name, sys.executable)
        with pytest.raises(RuntimeMissingError, match="cannot be imported") as caught:
            runtime.import_library()
        assert "edgectl-agent[executorch]" in caught.value.hint
        runtime.close()

    def test_ports_in_another_order_are_refused_and_without_names_their_order_counts(self, artifact, component):
        for name in ("turned", "bare"):
            artifact.write_bytes((self.programs / f"{name}.pte").read_bytes())
            runtime = self.create()
            try:
                if name == "turned":
                    with pytest.raises(BundleError, match="in another order"):
                        runtime.load(artifact, component, 1)
                else:
                    inputs = graph_inputs()
                    found = runtime.load(artifact, component, 1).infer(inputs)["action"]
                    np.testing.assert_allclose(found, expected_action(inputs), atol=1e-5)
            finally:
                runtime.close()

    def test_a_port_of_another_shape_is_refused_when_it_is_loaded(self, artifact, component):
        wrong = replace(component.inputs[2], shape=(1, 4))
        runtime = self.create()
        with pytest.raises(BundleError, match=r"'state', is float32\[1, 3\]; the manifest says float32\[1, 4\]"):
            runtime.load(artifact, replace(component, inputs=(*component.inputs[:2], wrong)), 1)
        runtime.close()


def test_a_program_says_its_operators_and_its_ports(programs):
    methods = read_pte(programs / "named.pte")
    assert methods["edgectl_ports"].texts == ("top\twrist\tstate", "action")
    assert "aten::mean.out" in methods["forward"].operators
    assert methods["forward"].delegates.keys() == {"XnnpackBackend"}


def test_a_program_that_was_changed_anywhere_is_read_or_refused(programs, tmp_path):
    drawn = np.random.default_rng(1)
    data = (programs / "named.pte").read_bytes()
    file = tmp_path / "changed.pte"
    for _ in range(300):
        changed = bytearray(data[: int(drawn.integers(1, len(data) + 1))])
        for at in drawn.integers(0, len(changed), 5):
            changed[int(at)] = int(drawn.integers(256))
        file.write_bytes(changed)
        with contextlib.suppress(DocumentError):
            read_pte(file)


def test_a_file_that_is_no_program_is_refused_by_name(python, tmp_path):
    (tmp_path / "model.pte").write_bytes(b"PK\3\4" + bytes(100))
    component = replace(tiny_component(runtime="executorch"), entry="model.pte")
    runtime = create("executorch", python)
    with pytest.raises(BundleCorruptError, match=r"model\.pte"):
        runtime.load(tmp_path / "model.pte", component, 1)
    runtime.close()
