"""The torch toolchain, made from its lock: what torch saves is read, exported, and computes the same on ONNX."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.runtimes.reference import ReferenceRuntime
from edgectl_converters.card import sha256_of
from edgectl_converters.sources.base import Export, ExportRequest
from edgectl_converters.sources.pt2.source import Pt2Source
from edgectl_converters.toolchain import Toolchain, Toolchains
from edgectl_converters.worker import FAILURE, KIND, REPORT, REQUEST, Kind
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.errors import OperatorError, ToolchainError
from edgectl_protos.domain.parity import Tolerance

# Kept in the checkout, so that only the first run of the tests waits for the installation.
CACHE = Path(__file__).resolve().parents[3] / ".cache" / "tests"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Saves every kind of module, and what torch computes with it.
MODULES = """
import sys, numpy as np, torch
from torch.export import Dim, export, save
folder = sys.argv[1]
torch.manual_seed(0)

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(6, 8), torch.nn.Linear(8, 8)

    def forward(self, state, image):
        hidden = torch.relu(self.first(state) + image.mean((-1, -2, -3))[:, None])
        return self.second(hidden).reshape(-1, 4, 2), hidden

class Options(torch.nn.Module):
    def forward(self, x, *, k, n: int = 2):
        return {"action": x * n + k}

class Sequence(torch.nn.Module):
    def forward(self, tokens):
        return (tokens.cumsum(1) / 3).mean((1,))

class Svd(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x.reshape(2, 3))

def example(rows):
    return torch.randn(rows, 6), torch.randn(rows, 3, 8, 8)

net = Net().eval()
batch = Dim("batch", min=2, max=64)
save(export(net, example(1)), f"{folder}/fixed.pt2")
save(export(net, example(3), dynamic_shapes={"state": {0: batch}, "image": {0: batch}}), f"{folder}/batch.pt2")
save(export(Options(), (torch.randn(1, 3),), {"k": torch.randn(1, 3), "n": 3}), f"{folder}/options.pt2")
save(
    export(Sequence(), (torch.randn(1, 5, 3),), dynamic_shapes={"tokens": {1: Dim("length", max=32)}}),
    f"{folder}/sequence.pt2",
)
save(export(Svd(), (torch.randn(1, 6),)), f"{folder}/svd.pt2")
torch.jit.script(net).save(f"{folder}/script.pt")
torch.jit.trace(net, example(1)).save(f"{folder}/trace.pts")
torch.jit.script(Svd()).save(f"{folder}/svd.pt")
torch.save(net.state_dict(), f"{folder}/weights.pt")
state, image = example(4)
action, hidden = (value.detach().numpy() for value in net(state, image))
# In another order than the arguments.
cases = {"in.image": image.numpy(), "in.state": state.numpy(), "out.action": action, "out.hidden": hidden}
for name in ("fixed", "script", "trace"):
    np.savez(f"{folder}/{name}.golden.npz", **cases)
np.savez(f"{folder}/svd.golden.npz", **{"in.x": np.ones((1, 6)), "out.action": np.ones((1, 2))})
"""


@pytest.fixture(scope="module")
def torch_toolchain(tmp_path_factory) -> Toolchain:
    try:
        return Toolchains(CACHE, tmp_path_factory.mktemp("config")).get("torch", print)
    except ToolchainError as exc:
        pytest.skip(exc.message)


@pytest.fixture(scope="module")
def modules(torch_toolchain, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("modules")
    # TorchScript reads the source of what it compiles, so the program is a file.
    program = folder / "save_modules.py"
    program.write_text(MODULES)
    command = [str(torch_toolchain.python), "-W", "ignore", str(program), str(folder)]
    subprocess.run(command, check=True, env=torch_toolchain.environment())
    return folder


def export(toolchain, path, folder, observations="", kind="synthetic", forms=("onnx",)):
    """Run the export in the toolchain's process; its report, or the failure."""
    out = folder / "out"
    out.mkdir()
    request = ExportRequest("pt2", str(path), str(out), str(observations), kind, 0, forms=forms)
    (folder / KIND).write_bytes(canonical_bytes(Kind("export")))
    (folder / REQUEST).write_bytes(canonical_bytes(request))
    command = [str(toolchain.python), "-m", "edgectl_converters.worker"]
    subprocess.run(
        command, check=True, env=toolchain.environment(), input=f"{folder}\n", text=True, capture_output=True
    )
    if (folder / FAILURE).exists():
        return from_bytes(Failure, (folder / FAILURE).read_bytes(), what=FAILURE)
    return from_bytes(Export, (folder / REPORT).read_bytes(), what=REPORT)


def run_cases(report, out):
    """The golden cases through the device's executor; found and expected tensors by name."""
    (part,) = report.components
    component = Component(
        part.name, "reference", "fp32", part.files["onnx"], part.inputs, part.outputs, Tolerance(0.0, 0.0, 0.0, 0.0)
    )
    graph = ReferenceRuntime().load(out / part.files["onnx"], component, 1)
    executor = Executor(report.policy, report.program, {}, {part.name: graph}, path_of=lambda name: out / name)
    golden = dict(np.load(out / "golden.npz"))
    found = {key[4:]: [] for key in golden if key.startswith("out.")}
    for case in range(report.cases):
        action = executor.run({f.name: golden[f"in.{f.name}"][case] for f in report.policy.observations})
        for name, values in found.items():
            values.append(action if name == report.program.action else np.array(executor.values[name]))
    return {name: (np.stack(values), golden[f"out.{name}"]) for name, values in found.items()}


@pytest.mark.parametrize(
    ("name", "cases", "reference", "outputs"),
    [
        ("fixed.pt2", 4, "fixed.golden.npz", ["action", "hidden"]),
        ("batch.pt2", 3, "torch 2.13", ["action", "relu"]),
        ("options.pt2", 1, "torch 2.13", ["action"]),
        ("sequence.pt2", 1, "example inputs", ["action"]),
        ("script.pt", 4, "script.golden.npz", ["action", "hidden"]),
        ("trace.pts", 4, "trace.golden.npz", ["action", "hidden"]),
    ],
)
def test_what_torch_saves_computes_the_same_on_onnx(
    torch_toolchain, modules, tmp_path, name, cases, reference, outputs
):
    card = Pt2Source().card(modules / name, sha256_of)
    report = export(torch_toolchain, modules / name, tmp_path)
    assert isinstance(report, Export), report
    assert (report.policy, report.cases) == (card.policy, cases)
    assert reference in report.reference
    assert report.versions["torch"].startswith("2.13")
    figures = run_cases(report, tmp_path / "out")
    assert list(figures) == outputs
    for found, expected in figures.values():
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_recorded_observations_are_run_by_torch(torch_toolchain, modules, tmp_path):
    rng = np.random.default_rng(0)
    state, image = rng.normal(size=(2, 6)).astype(np.float32), rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "observations.npz", state=state, image=image)
    report = export(torch_toolchain, modules / "batch.pt2", tmp_path, tmp_path / "observations.npz", "recorded")
    assert (report.inputs_kind, report.cases) == ("recorded", 2)
    with np.load(tmp_path / "out/golden.npz") as golden:
        np.testing.assert_array_equal(golden["in.state"], state)


@pytest.mark.parametrize(("name", "operator"), [("svd.pt2", "aten._linalg_svd"), ("svd.pt", "aten::linalg_svdvals")])
def test_an_operator_that_onnx_cannot_say_is_named(torch_toolchain, modules, tmp_path, name, operator):
    failure = export(torch_toolchain, modules / name, tmp_path)
    assert isinstance(failure, Failure)
    assert failure.reason == OperatorError.reason
    assert operator in failure.message


def test_arguments_of_other_names_are_told(torch_toolchain, modules, tmp_path):
    path = tmp_path / "script.pt"
    path.write_bytes((modules / "script.pt").read_bytes())
    cases = {"in.pixels": np.zeros((1, 3, 8, 8)), "in.state": np.zeros((1, 6)), "out.action": np.zeros((1, 4, 2))}
    np.savez(tmp_path / "script.golden.npz", **cases)
    failure = export(torch_toolchain, path, tmp_path)
    assert failure.reason == "checkpoint_invalid"
    assert "takes state, image" in failure.message


def test_the_recorded_graph_of_the_unit_tests_is_what_torch_writes(torch_toolchain, modules):
    recorded = Path(__file__).parents[2] / "unit/converters/sources/recorded/exported_program.json"
    with zipfile.ZipFile(modules / "batch.pt2") as archive:
        written = json.loads(archive.read("batch/models/model.json"))
    known = json.loads(recorded.read_text())
    assert written["schema_version"] == known["schema_version"]
    assert written["graph_module"]["signature"].keys() == known["graph_module"]["signature"].keys()


RUN = """
import sys, numpy as np, torch
program, golden = torch.export.load(sys.argv[1]).module(), np.load(sys.argv[2])
for case in range(4):
    action, hidden = program(*(torch.from_numpy(golden[f"in.{name}"][case][None]) for name in sys.argv[3:]))
    error = np.abs(action.detach()[0].numpy() - golden["out.action"][case]).max()
    assert error <= 1e-6, (case, error)
print(sorted(program.state_dict()))
"""


def test_a_program_is_written_flat_for_targets_that_read_torchs_form(torch_toolchain, modules, tmp_path):
    found = export(torch_toolchain, modules / "fixed.pt2", tmp_path, forms=("onnx", "pt2"))
    (part,) = found.components
    file = tmp_path / "out" / part.files["pt2"]
    names = [spec.name for spec in part.inputs]
    command = [str(torch_toolchain.python), "-W", "ignore", "-c", RUN, str(file)]
    done = subprocess.run(
        [*command, str(modules / "fixed.golden.npz"), *names],
        env=torch_toolchain.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "weight" in done.stdout
    with zipfile.ZipFile(file) as archive:
        assert not any(b"save_modules.py" in archive.read(name) for name in archive.namelist())


def test_a_script_is_no_program(modules):
    assert Pt2Source().card(modules / "script.pt", sha256_of).forms == ("onnx",)
    assert Pt2Source().card(modules / "fixed.pt2", sha256_of).forms == ("onnx", "pt2")


SHARED = """
import sys, torch
from pathlib import Path
from edgectl_converters.sources.torch_program import write_program

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
        self.register_buffer("table", torch.ones(3), persistent=False)

    def forward(self, x):
        return self.used(x)

program = torch.export.export(Net(), (torch.ones(1, 3),))
write_program(program, Path(sys.argv[1]))
kept = set(torch.export.load(sys.argv[1]).state_dict)
assert kept == {"used.weight", "used.bias"}, kept
# What one form does without, another may still need.
assert "table" in program.constants and "unused.weight" in program.state_dict
torch.onnx.export(program, (), dynamo=True, verbose=False)
"""


def test_writing_one_form_leaves_the_program_whole_for_the_others(torch_toolchain, tmp_path):
    command = [str(torch_toolchain.python), "-W", "ignore", "-c", SHARED, str(tmp_path / "net.pt2")]
    done = subprocess.run(command, env=torch_toolchain.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
