"""Packages are compiled and run in the torch toolchain's interpreter, made in the checkout's `.cache/tests` once."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.runtime import RuntimeContract
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, RuntimeMissingError
from edgectl_testkit.bundles import tiny_component
from edgectl_testkit.toolchains import toolchain_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PACKAGE = """
import sys, torch

class Tiny(torch.nn.Module):
    def forward(self, top, wrist, state):
        total = top.mean((1, 2, 3)) + wrist.mean((1, 2, 3)) + 0.5 * state.sum(1)
        return total[:, None, None] + 0.01 * torch.arange(4)[:, None] + 0.1 * torch.arange(2)

frame = torch.zeros(1, 3, 8, 10)
program = torch.export.export(Tiny(), (frame, frame.clone(), torch.zeros(1, 3)), strict=False)
said = {"edgectl.inputs": "top\\twrist\\tstate", "edgectl.outputs": "action", "edgectl.torch": "2.13.0"}
torch._inductor.aoti_compile_and_package(
    program, package_path=sys.argv[1], inductor_configs={"aot_inductor.metadata": said}
)
"""


@pytest.fixture(scope="module")
def python() -> str:
    return str(toolchain_of("torch").python)


@pytest.fixture(scope="module")
def package(python: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("package") / "model.pt2"
    subprocess.run([python, "-W", "ignore", "-c", PACKAGE, str(file)], check=True)
    return file.read_bytes()


def changed(artifact: Path, **said: str) -> None:
    """What the package says about itself, said otherwise."""
    with zipfile.ZipFile(artifact) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(artifact, "w") as archive:
        for name, data in members.items():
            if name.endswith("wrapper_metadata.json"):
                data = json.dumps(json.loads(data) | {key.replace("__", "."): value for key, value in said.items()})
            archive.writestr(name, data)


class TestAotiRuntime(RuntimeContract):
    runtime_name = "aoti"
    library = "torch"
    entry = "model.pt2"

    @pytest.fixture(autouse=True)
    def _over_there(self, python, package):
        self.python, self.package = python, package

    def create(self):
        return create(self.runtime_name, self.python)

    def files(self):
        return {"model.pt2": self.package}

    def test_names_an_operator_it_does_not_know(self):
        pytest.skip("a package holds compiled code, and no operators")

    def test_a_missing_library_is_said_with_what_installs_it(self):
        # The interpreter of the tests has no torch.
        runtime = create(self.runtime_name, sys.executable)
        with pytest.raises(RuntimeMissingError, match="cannot be imported") as caught:
            runtime.import_library()
        assert "edgectl-agent[aoti]" in caught.value.hint
        runtime.close()

    @pytest.mark.parametrize(
        ("said", "complaint"),
        [
            ({"AOTI_MACHINE": "riscv64"}, "compiled for riscv64, and this device is"),
            ({"AOTI_CPU_ISA": "AVX512 AMX_FP16"}, "compiled for AMX_FP16, which this processor lacks"),
            ({"edgectl__torch": "2.12.0"}, "compiled with torch 2.12.0, and torch 2.13.0 is installed"),
        ],
        ids=["machine", "instructions", "torch"],
    )
    def test_what_was_compiled_for_another_device_is_refused_before_it_is_loaded(
        self, runtime, artifact, component, said, complaint
    ):
        changed(artifact, **said)
        with pytest.raises(RuntimeMissingError, match=complaint):
            runtime.load(artifact, component, 1)

    def test_ports_in_another_order_are_refused(self, runtime, artifact, component):
        changed(artifact, edgectl__inputs="wrist\ttop\tstate")
        with pytest.raises(BundleError, match="in another order"):
            runtime.load(artifact, component, 1)


def test_a_package_without_a_model_is_refused_by_name(python, tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as archive:
        archive.writestr("archive/version", "0")
    runtime = create("aoti", python)
    with pytest.raises(BundleCorruptError, match=r"model\.pt2"):
        runtime.load(tmp_path / "model.pt2", replace(tiny_component(runtime="aoti"), entry="model.pt2"), 1)
    runtime.close()
