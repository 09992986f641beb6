from __future__ import annotations

import contextlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgectl_converters.card import sha256_of
from edgectl_converters.sources.pt2.source import Pt2Source, read_module
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import (
    CheckpointCorruptError,
    CheckpointError,
    EdgectlError,
    OperatorError,
    ShapeError,
)

# The graph that torch 2.13 wrote for forward(state [b, 6], image [b, 3, 8, 8]) -> ([b, 4, 2], [b, 8]) and an example
# of two rows, its stack traces taken out.
RECORDED = json.loads((Path(__file__).parent / "recorded/exported_program.json").read_text())


def pt2(folder, document=None, *, examples=True, name="net.pt2"):
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("net/models/model.json", json.dumps(RECORDED if document is None else document))
        if examples:
            archive.writestr("net/data/sample_inputs/model.pt", b"\x80never read")
    return folder / name


def script(folder, name="net.pt"):
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        for member, data in (
            ("code/__torch__.py", b""),
            ("constants.pkl", b""),
            ("data.pkl", b""),
            ("data/0", b"0" * 40),
        ):
            archive.writestr(f"net/{member}", data)
    return folder / name


def golden(path, cases=2, **change):
    rng = np.random.default_rng(0)
    arrays = {"in.state": rng.normal(size=(cases, 6)), "in.image": rng.normal(size=(cases, 3, 8, 8))}
    arrays |= {"out.action": rng.normal(size=(cases, 4, 2)), "out.hidden": rng.normal(size=(cases, 8))}
    np.savez(path.with_suffix(".golden.npz"), **{k: v for k, v in (arrays | change).items() if v is not None})
    return path


def card(path):
    return Pt2Source().card(path, sha256_of)


def test_an_exported_program_says_what_goes_in_and_out(tmp_path):
    path = pt2(tmp_path)
    assert Pt2Source().sniff(path)
    found = card(path)
    assert [(f.name, f.dtype, f.shape) for f in found.policy.observations] == [
        ("state", DType.FLOAT32, (6,)),
        ("image", DType.FLOAT32, (3, 8, 8)),
    ]
    assert (found.policy.action.name, found.policy.chunk_size, found.policy.action.shape) == ("action", 4, (2,))
    assert (found.toolchain, found.components, found.name) == ("torch", ("policy",), "net")
    assert found.parameters == 6 * 8 + 8 + 8 * 8 + 8
    assert any("example inputs" in note for note in found.notes)
    module = read_module(path)
    assert module.outputs == (
        TensorSpec("action", DType.FLOAT32, (1, 4, 2)),
        TensorSpec("relu", DType.FLOAT32, (1, 8)),
    )
    assert module.archive.batch == {"state": 2, "image": 2, "reshape": 2, "relu": 2}


def test_golden_cases_name_the_outputs_and_are_part_of_the_digest(tmp_path):
    path = pt2(tmp_path)
    before = card(path).digest
    golden(path)
    assert [spec.name for spec in read_module(path).outputs] == ["action", "hidden"]
    assert card(path).digest != before


def test_a_script_module_is_known_by_its_golden_cases(tmp_path):
    path = golden(script(tmp_path))
    found = card(path)
    assert [(f.name, f.shape) for f in found.policy.observations] == [("state", (6,)), ("image", (3, 8, 8))]
    # numpy's float64 is what Python's numbers become; the module computes in float32.
    assert {f.dtype for f in found.policy.observations} == {DType.FLOAT32}
    assert found.parameters == 10


def test_a_script_module_without_golden_cases_says_what_to_record(tmp_path):
    with pytest.raises(CheckpointError, match=r"net\.golden\.npz is missing") as caught:
        card(script(tmp_path))
    assert "numpy.savez" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"in.state": np.zeros((2, 5))}, ShapeError, r"in\.state is \[2, 5\]; wanted 2 cases of \[6\]"),
        ({"in.state": None}, CheckpointError, r"no in\.state"),
        ({"in.ghost": np.zeros((2, 5))}, CheckpointError, r"in\.ghost"),
        ({"out.action": None, "out.hidden": None}, CheckpointError, r"no out\.<output>"),
        ({"out.third": np.zeros((2, 1))}, CheckpointError, "3 outputs"),
    ],
)
def test_golden_cases_that_do_not_fit_are_refused(tmp_path, change, error, text):
    with pytest.raises(error, match=text):
        card(golden(pt2(tmp_path), **change))


def write(path, *members):
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, b"x")


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (("net/data.pkl", "net/data/0", "net/version"), "net.pt is a pickle; edgectl unpickles nothing"),
        (("net/data/aotinductor/model/net.so",), "AOTInductor"),
        (("net/models/a.json", "net/models/b.json"), "2 programs"),
        (("net/readme",), "neither a program nor a module"),
    ],
)
def test_what_is_no_module_says_how_to_save_one(tmp_path, members, text):
    write(tmp_path / "net.pt", *members)
    with pytest.raises(CheckpointError, match=text):
        card(tmp_path / "net.pt")


def test_an_old_pickle_is_refused_unread(tmp_path):
    (tmp_path / "net.pt").write_bytes(b"\x80\x02cposix\nsystem\n")
    with pytest.raises(CheckpointError, match="is a pickle") as caught:
        card(tmp_path / "net.pt")
    assert "torch.export.save" in caught.value.hint


def changed(path, value):
    document = json.loads(json.dumps(RECORDED))
    *parents, last = path
    at = document["graph_module"]
    for key in parents:
        at = at[key]
    at[last] = value
    return document


def test_an_operator_of_somebody_is_named(tmp_path):
    document = changed(["graph", "nodes", 0, "target"], "torch.ops.our_lab.twice.default")
    with pytest.raises(OperatorError, match="our_lab::twice"):
        card(pt2(tmp_path, document))


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (["signature", "output_specs", 0], {"buffer_mutation": {"arg": {"name": "n"}}}, "changes what it holds"),
        (["signature", "input_specs", 5, "user_input", "arg"], {"as_sym_int": {}}, "not a tensor"),
        (["graph", "tensor_values", "state", "dtype"], 13, "type 13"),
        (["graph", "tensor_values", "state", "sizes", 1], {"as_expr": {"expr_str": "s1", "hint": None}}, "free"),
        (["graph", "tensor_values", "state", "sizes", 1], {"as_int": 1 << 40}, "cannot be fed"),
        (["graph", "tensor_values", "state", "sizes", 1], {}, "not an exported program"),
        (["signature", "input_specs"], [], "no inputs"),
        (["graph"], {}, "not an exported program"),
        (["signature"], [], "not an exported program"),
    ],
)
def test_a_program_that_cannot_be_fed_says_why(tmp_path, path, value, text):
    with pytest.raises(CheckpointError, match=text):
        card(pt2(tmp_path, changed(path, value)))


@pytest.mark.parametrize("text", ["", "[" * 100_000, "nonsense", "\x00"])
def test_damaged_json_is_corrupt(tmp_path, text):
    with zipfile.ZipFile(tmp_path / "net.pt2", "w") as archive:
        archive.writestr("net/models/model.json", text)
    with pytest.raises(CheckpointCorruptError, match=r"net\.pt2"):
        card(tmp_path / "net.pt2")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_archives_give_one_of_our_errors(tmp_path_factory, data):
    path = pt2(tmp_path_factory.mktemp("damaged"))
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for _ in range(3):
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(content))
    with contextlib.suppress(EdgectlError):
        card(path)
