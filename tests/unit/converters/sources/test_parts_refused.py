"""What bad files of a policy in parts get: an error of ours that says what is wrong."""

from __future__ import annotations

import contextlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgectl_protos.domain.errors import (
    CheckpointCorruptError,
    CheckpointError,
    EdgectlError,
    NonFiniteError,
    OperatorError,
    ProgramError,
    ShapeError,
    TokenizerError,
)
from edgectl_testkit.part_policies import (
    PLAIN,
    SCALED,
    card,
    diffusion,
    export,
    graph,
    node,
    scaled_golden,
    simple,
    vla,
)

BROKEN = [
    ("net: net.onnx", "net: other.onnx", CheckpointError, "other.onnx"),
    ("net: net.onnx", "net: ../net.onnx", CheckpointError, "outside"),
    ("net: net.onnx", "net: /etc/passwd", CheckpointError, "outside"),
    ("net: net.onnx", "net: policy.yaml", CheckpointCorruptError, "policy.yaml"),
    ("net: net.onnx", "'../net': net.onnx", CheckpointError, "no name of a component"),
    ("policy: v1", "policy: v2", CheckpointError, "`policy: v1` is missing, found 'v2'"),
    ("policy: v1", "policy: v1\npolicy: v1", CheckpointError, "stands twice"),
    ("policy: v1", "policy: v1\nrate: 30", CheckpointError, "rate"),
    ("kind: state", "kind: smell", CheckpointError, "visual, state"),
    ("kind: state", "kind: visual", CheckpointError, "observe.state"),
    ("kind: state", "kind: state, shape: [0]", CheckpointError, "no shape"),
    ("kind: state", "kind: state, shape: [4]", ProgramError, r"'normalise' cannot turn 'state' \[4\] into 'x'"),
    ("kind: state", "kind: state, dtype: complex64", CheckpointError, "float32"),
    ("shape: [3]", "shape: [4]", ProgramError, r"'unnormalise'"),
    ("shape: [3]", "shape: [3], chunk: 0", CheckpointError, "0"),
    ("shape: [3]", "shape: [3], use: 2", CheckpointError, "2 actions of a chunk of 1"),
    ("op: normalise", "op: normalize", CheckpointError, "'normalize' is not known; known: resize, normalise"),
    ("op: normalise", "op: [1]", CheckpointError, "is not known"),
    ("- {component: net}", "- net", CheckpointError, r"steps\[1\] is no step"),
    ("component: net", "component: nut", ProgramError, "'nut'; components are: net"),
    ("component: net", "component: net, in: {z: x}", ProgramError, "no input 'z'; it has: x"),
    ("component: net", "component: net, in: {'z*': 'x*'}", ProgramError, r"no port is like 'z\*'"),
    ("component: net", "component: net, in: {x: ghost}", CheckpointError, "observe.state has no shape"),
    ("in: y, out: action", "in: z, out: action", CheckpointError, "the shape of the tensor 'z'"),
    ("in: y, out: action", "in: y, out: other", ProgramError, "no step of the program writes 'action'"),
    ("mean: [1, 2, 3]", "mean: [1, 2]", CheckpointError, "2 values"),
    ("mean: [1, 2, 3]", "mean: [1, [2]]", CheckpointError, "mean is neither"),
    ("mean: [1, 2, 3]", "mean: 1e999", CheckpointError, "not finite"),
    ("mean: [1, 2, 3]", "mean: 'stats.npz:mean'", CheckpointError, "stats.npz"),
    ("mean: [1, 2, 3]", "mean: 'golden.npz:mean'", CheckpointError, "no 'mean'; it has: in.state"),
    ("mean: [1, 2, 3]", "mean: .nan", CheckpointError, "no number"),
    ("mean: [1, 2, 3], std: 2", "divide: 0", CheckpointError, "divide"),
    ("mean: [1, 2, 3], std: 2", "mean: 1", CheckpointError, "both are needed"),
    ("mean: [1, 2, 3], std: 2", "mean: 1, std: [1, 0, 1]", CheckpointError, "divides by 0.*element 1"),
    ("mean: [1, 2, 3], std: 2", "mean: 1, std: 1, min: 0, max: 1", CheckpointError, "one pair"),
    ("- {component: net}", "- {op: noise, out: n}\n  - {component: net}", CheckpointError, "'n'"),
    ("- {component: net}", "- {repeat: 2, steps: [{repeat: 2, steps: [{component: net}]}]}", CheckpointError, "loop"),
    ("- {component: net}", "- {repeat: 0, steps: [{component: net}]}", CheckpointError, "repeated 0 times"),
    ("- {component: net}", "- {repeat: 2, each: {u: [1]}, steps: [{component: net}]}", ProgramError, "each.u has 1"),
    ("- {component: net}", "- &a {component: net}\n  - *a", CheckpointError, "anchor"),
    ("- {component: net}", "- !!python/object:os.system {}", CheckpointError, "tag"),
    ("- {component: net}", "- {component: net, id: a}\n  - {component: net, id: a}", ProgramError, "two steps"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "error", "text"), BROKEN)
def test_a_broken_file_says_what_is_wrong(tmp_path, old, new, error, text):
    assert old in SCALED
    folder = simple(tmp_path / "p", SCALED.replace(old, new), **scaled_golden())
    with pytest.raises(error, match=text):
        card(folder)


@pytest.mark.parametrize("file", ["openai/clip-vit-base-patch32", "absent.json", "../tokenizer.json", "policy.json"])
def test_a_tokenizer_that_is_no_file_here_is_refused(tmp_path, file):
    folder = vla(tmp_path / "my_vla")
    (folder / "policy.json").write_text("[1]")
    text = (folder / "policy.yaml").read_text()
    (folder / "policy.yaml").write_text(text.replace("tokenizer.json", file))
    with pytest.raises(TokenizerError):
        card(folder)


@pytest.mark.parametrize(
    ("step", "text"),
    [
        ("method: rk4", "known: euler, ddim, ddpm"),
        ("method: euler", "needs dt, or times"),
        ("method: euler, dt: -0.1, predicts: noise", "predicts: noise"),
        ("method: ddim, times: t", "alphas"),
        ("method: ddim, times: t, betas: cosine, train_steps: 90", "squaredcos_cap_v2"),
        ("method: ddim, times: t, betas: linear, train_steps: 50", "whole numbers of 0 to 49"),
        ("method: ddim, times: u, betas: linear, train_steps: 90", "no tensor of the loop's each; it has: t"),
        ("method: ddpm, times: t, alphas: [1, 1, 1]", "whole numbers|no coefficients"),
    ],
)
def test_an_integrator_says_what_it_lacks(tmp_path, step, text):
    folder = diffusion(tmp_path / "p", "ddim")
    yaml = (folder / "policy.yaml").read_text()
    (folder / "policy.yaml").write_text(re.sub(r"method: .*\}", step + "}", yaml))
    with pytest.raises(CheckpointError, match=text):
        card(folder)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"in.state": None}, CheckpointError, r"no in\.state; it must hold: in\.state \[cases, 3\]"),
        ({"in.state": np.zeros((3, 3))}, ShapeError, r"in\.state is \[3, 3\]; wanted 2 cases"),
        ({"in.state": np.array(["a", "b"])}, ShapeError, "in.state"),
        ({"out.action": np.zeros((2, 1, 3)) + np.nan}, NonFiniteError, "out.action"),
        ({"out.ghost": np.zeros((2, 3))}, CheckpointError, "out.ghost"),
        ({"out.action": np.zeros(())}, ShapeError, "some cases"),
    ],
)
def test_golden_data_that_do_not_fit_are_refused(tmp_path, change, error, text):
    golden = {key: value for key, value in (scaled_golden() | change).items() if value is not None}
    with pytest.raises(error, match=text):
        card(simple(tmp_path / "p", SCALED, **golden))


def test_pickled_golden_data_are_refused(tmp_path):
    folder = simple(tmp_path / "p", SCALED, **(scaled_golden() | {"in.state": np.array([{}, {}], object)}))
    with pytest.raises(CheckpointCorruptError, match=r"golden\.npz"):
        card(folder)


def test_an_unknown_operator_is_named(tmp_path):
    folder = simple(tmp_path / "p", PLAIN)
    graph(folder / "net.onnx", [node("FancyRelu", "x", "y")], {"x": ["f", 1, 3]}, {"y": ["f", 1, 3]})
    np.savez(tmp_path / "o.npz", x=np.zeros((1, 3), np.float32))
    with pytest.raises(OperatorError, match="FancyRelu"):
        export(folder, tmp_path / "out", tmp_path / "o.npz")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_change_of_the_file_gives_one_of_our_errors(tmp_path_factory, data):
    folder = simple(tmp_path_factory.mktemp("any") / "p", SCALED, **scaled_golden())
    text = bytearray(SCALED.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=3) | st.sampled_from(
            [b"{", b"}", b"[", b"]", b": ", b"*", b"&a ", b"!!", b"|", b"0x", b"-", b"1e400", b"null", b"'", b'"\\U'])
        )  # fmt: skip
    (folder / "policy.yaml").write_bytes(bytes(text))
    with contextlib.suppress(EdgectlError):
        card(folder)
