from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import edgectl_converters
import edgectl_protos
from edgectl_converters.code import BUNDLE_SCHEMA, Code

EXPORT = "edgectl_converters.sources.onnx"
BUILD = "edgectl_converters.targets.onnxrt"
RELEASE = "edgectl_converters.release"


@pytest.fixture
def tree(tmp_path):
    """A copy of our own packages, to be edited."""
    for package in (edgectl_converters, edgectl_protos):
        ignore = shutil.ignore_patterns("__pycache__", "toolchains", "v1")
        shutil.copytree(Path(package.__path__[0]), tmp_path / package.__name__, ignore=ignore)
    return tmp_path


def digests(tree):
    """What keys exports, builds and bundles, as `job.py` asks for it."""
    code = Code({name: tree / name for name in ("edgectl_converters", "edgectl_protos", "edgectl_host")})
    return code.digest(EXPORT), code.digest(BUILD), code.digest(RELEASE, without=())


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("edgectl_converters/gates.py", (False, False, False)),
        ("edgectl_converters/conversion.py", (False, False, False)),
        ("edgectl_converters/route.py", (False, False, False)),
        ("edgectl_protos/domain/errors.py", (False, False, False)),
        ("edgectl_protos/domain/bundle.py", (False, False, True)),
        ("edgectl_converters/release.py", (False, False, True)),
        ("edgectl_converters/sources/onnx_graph.py", (True, True, False)),
        ("edgectl_converters/targets/calibration.py", (False, True, False)),
        ("edgectl_protos/domain/artifact.py", (True, True, True)),
    ],
)
def test_an_edit_redoes_what_it_decides_and_nothing_else(tree, file, changed):
    before = digests(tree)
    with open(tree / file, "a") as text:
        text.write("# edited\n")
    assert tuple(a != b for a, b in zip(before, digests(tree), strict=True)) == changed


def write(folder, **modules):
    (folder / "edgectl_x").mkdir()
    for name, text in {"__init__": "", **modules}.items():
        (folder / f"edgectl_x/{name}.py").write_text(text)
    return Code({"edgectl_x": folder / "edgectl_x"})


def names(code, module="edgectl_x.a"):
    return [name for name, _ in code.closure(module)]


@pytest.mark.parametrize(
    "text",
    [
        "from edgectl_x.b import thing",
        "from edgectl_x import b",
        "from edgectl_x import c, b as other",
        "from edgectl_x import (\n    c,\n    b,\n)",
        "import edgectl_x.b",
        "def f():\n    from edgectl_x.b import thing\n",
        "from edgectl_x.c import d",
    ],
)
def test_every_way_to_import_is_seen(tmp_path, text):
    assert "edgectl_x.b" in names(write(tmp_path, a=text, b="", c="import edgectl_x.b"))


def test_imports_for_types_alone_decide_nothing(tmp_path):
    text = "if TYPE_CHECKING:\n    from edgectl_x.b import B\n\n    C = 1\nfrom edgectl_x.c import c\n"
    assert names(write(tmp_path, a=text, b="", c="")) == ["edgectl_x", "edgectl_x.a", "edgectl_x.c"]


def test_modules_may_import_each_other(tmp_path):
    assert names(write(tmp_path, a="import edgectl_x.b", b="import edgectl_x.a"))[1:] == ["edgectl_x.a", "edgectl_x.b"]


def test_what_is_not_there_has_no_digest():
    code = Code()
    assert code.digest("edgectl_converters.absent") == ""
    assert code.digest("edgectl_absent.module") == ""
    assert code.digest(BUNDLE_SCHEMA) != code.digest(BUNDLE_SCHEMA, without=())
