"""A checkpoint to convert, and bare graphs."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgectl_converters.assignment import Assignment
from edgectl_converters.card import Declared
from edgectl_converters.conversion import Workshop, run_conversion
from edgectl_converters.plan import ConvertRequest
from edgectl_converters.pythons import PythonSearch
from edgectl_converters.toolchain import Toolchains
from edgectl_testkit.lerobot_dirs import LeRobotDir


class Bench:
    """A cache, a checkpoint that carries its export, and conversions of it. No Python is found for a toolchain."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.said: list[str] = []
        self.checkpoint = LeRobotDir().write_with_export(folder / "press", folder / "aside")

    def shop(self, cache=None, **options) -> Workshop:
        cache = cache or self.cache
        search = PythonSearch(self.folder, system=(), own=False)
        return Workshop(cache, Toolchains(cache, self.folder / "config", search), threads=1, **options)

    def request(self, runtime="reference", scheme="fp32", **changes):
        return replace(ConvertRequest(self.checkpoint, Assignment.of(runtime, scheme)), **changes)

    def convert(self, *arguments, cache=None, worker=None, **changes):
        self.said.clear()
        options = {} if worker is None else {"worker": worker}
        return run_conversion(self.request(*arguments, **changes), self.shop(cache, **options), self.said.append)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def convert_graph(tmp_path):
    """Converts an ONNX graph without anything beside it."""

    def convert(model, runtime="onnxrt", scheme="fp32", say=lambda text: None, **declared):
        path = tmp_path / "net.onnx"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        shop = Workshop(tmp_path / "cache", Toolchains(tmp_path / "cache", tmp_path), threads=1)
        request = ConvertRequest(path, Assignment.of(runtime, scheme), declared=Declared(**declared))
        return run_conversion(request, shop, say)

    return convert
