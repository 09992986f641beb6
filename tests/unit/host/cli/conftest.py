"""The whole command line over devices in memory: only the wiring is replaced."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgectl_host.cli.app import run
from edgectl_host.cli.wiring import Wiring
from edgectl_host.config import HostConfig
from edgectl_testkit.bundles import tiny_bundle, tiny_graph
from edgectl_testkit.fake_device import FakeDevice

FLEET = """\
devices:
  nuc-1: {address: "unix:/nuc-1", board: generic-x86_64, labels: {site: lab}}
  nuc-2: {address: "unix:/nuc-2", board: generic-x86_64, labels: {site: hall}}
  pi-1: {address: "unix:/pi-1", board: raspberry-pi-5, stand_in: true, labels: {site: lab}}
groups:
  nucs: [nuc-1, nuc-2]
"""


class FakeWiring(Wiring):
    """Reaches devices in memory by their names."""

    def __init__(self, config: HostConfig, fakes: dict[str, FakeDevice]) -> None:
        super().__init__(config)
        self.fakes = fakes

    async def reach(self, device):
        return await self.connect(device)

    async def connect(self, device):
        return await self.fakes[device.name].connect()


@dataclass
class Cli:
    """Runs commands; what they printed is in the result."""

    wiring: FakeWiring
    capsys: pytest.CaptureFixture[str]
    fakes: dict[str, FakeDevice] = field(default_factory=dict)

    def __call__(self, *arguments: object, **expected: int):
        code = run([str(argument) for argument in arguments], self.wiring)
        captured = self.capsys.readouterr()
        return Result(code, captured.out, captured.err)


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.rstrip("\n").split("\n")


@pytest.fixture
def home(tmp_path: Path) -> HostConfig:
    environ = {"EDGECTL_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "USER": "ada"}
    return HostConfig.from_environment(environ, uid=1000)


@pytest.fixture
def cli(home, capsys, tmp_path, monkeypatch):
    folder = tmp_path / "cwd"
    folder.mkdir()
    (folder / "fleet.yaml").write_text(FLEET)
    monkeypatch.chdir(folder)
    fakes = {name: FakeDevice(name) for name in ("local", "nuc-1", "nuc-2", "pi-1")}
    return Cli(FakeWiring(home, fakes), capsys, fakes)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "bundle")[0]


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_graph())
    return path
