from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgectl_converters.card import sha256_of
from edgectl_converters.inspect import inspect
from edgectl_converters.sources.base import Export, ExportRequest
from edgectl_converters.sources.registry import source
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointError, EdgectlError
from edgectl_testkit.tflite import Operator, Tensor, convolution_file, tiny_file, write_file


def saved(folder: Path, data: bytes) -> Path:
    path = folder / "policy.tflite"
    path.write_bytes(data)
    return path


def exported(path: Path, observations: dict[str, np.ndarray]) -> tuple[Export, dict[str, np.ndarray]]:
    out = path.parent / "out"
    out.mkdir()
    np.savez(out.with_suffix(".npz"), **observations)
    request = ExportRequest("tflite", str(path), str(out), str(out.with_suffix(".npz")), "synthetic", 0)
    report = source("tflite").export(request, lambda text: None)
    assert (out / report.components[0].files["tflite"]).read_bytes() == path.read_bytes()
    return report, dict(np.load(out / "golden.npz"))


def test_the_card_says_what_goes_in_and_how_layers_are_stored(tmp_path):
    card = inspect(saved(tmp_path, convolution_file("int8")))
    (observed,) = card.policy.observations
    assert (card.source, card.forms, card.toolchain) == ("tflite", ("tflite",), "host")
    assert (observed.name, observed.dtype, observed.shape) == ("x", DType.FLOAT32, (4, 4, 3))
    assert (card.policy.action.name, card.policy.action.shape) == ("y", (4, 8))
    assert card.schemes == ("int8-dynamic",)
    assert card.parameters == 24
    assert card.notes[-1] == "1 operators; layers stored as 1 INT8"


@pytest.mark.parametrize(("stored", "scheme"), [("float32", "fp32"), ("int8", "int8-dynamic")])
def test_its_scheme_is_what_its_layers_are(tmp_path, stored, scheme):
    assert inspect(saved(tmp_path, convolution_file(stored))).schemes == (scheme,)


def test_without_golden_data_its_own_interpreter_makes_them_and_the_reference_says_so(tmp_path):
    path = saved(tmp_path, tiny_file())
    specs = source("tflite").card(path, sha256_of).policy.observations
    random = np.random.default_rng(0)
    raw = {spec.name: random.normal(0, 1, (3, *spec.shape)).astype(np.float32) for spec in specs}
    report, golden = exported(path, raw)
    assert "the .tflite itself" in report.reference
    assert (report.cases, report.components[0].stored) == (3, "fp32")
    total = raw["top"].mean((1, 2, 3)) + raw["wrist"].mean((1, 2, 3)) + 0.5 * raw["state"].sum(1)
    np.testing.assert_allclose(golden["out.action"][:, 0, 0], total, atol=1e-5)


def test_golden_data_beside_it_are_taken(tmp_path):
    path = saved(tmp_path, convolution_file())
    cases = {"in.x": np.ones((2, 4, 4, 3), np.float32), "out.y": np.full((2, 4, 4, 8), 7, np.float32)}
    np.savez(path.with_suffix(".golden.npz"), **cases)
    report, golden = exported(path, {})
    assert (report.reference, report.inputs_kind) == ("policy.golden.npz", "recorded")
    np.testing.assert_array_equal(golden["out.y"], cases["out.y"])


def test_one_that_was_written_short_is_refused_wherever_it_ends(tmp_path):
    data = convolution_file()
    for length in range(0, len(data) - 8, 61):
        path = saved(tmp_path, data[:length])
        with pytest.raises(CheckpointCorruptError, match=r"policy\.tflite"):
            source("tflite").card(path, sha256_of)


def test_damaged_bytes_are_a_card_or_one_of_our_errors(tmp_path):
    data, random = convolution_file(), np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(data)
        for place in random.integers(8, len(data), 6):
            damaged[place] = int(random.integers(256))
        try:
            source("tflite").card(saved(tmp_path, bytes(damaged)), sha256_of)
        except EdgectlError:
            continue


def test_what_is_none_is_refused(tmp_path):
    with pytest.raises(CheckpointCorruptError, match="is no .tflite"):
        inspect(saved(tmp_path, b"version https://git-lf" * 3))


def test_several_signatures_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"2 signatures \(prefill, decode\)"):
        inspect(saved(tmp_path, tiny_file(signatures=("prefill", "decode"))))


def test_integers_stay_what_the_file_says(tmp_path):
    tensors = [Tensor("n", (1, 3), "int32"), Tensor("one", (1,), "int32", 1), Tensor("m", (1, 3), "int32")]
    path = saved(tmp_path, write_file(tensors, [Operator("ADD", ("n", "one"), ("m",))], ("n",), ("m",)))
    report, golden = exported(path, {"n": np.array([[1, 2, 3]], np.int32)})
    assert report.components[0].inputs == (TensorSpec("n", DType.INT32, (1, 3)),)
    assert golden["out.m"].tolist() == [[[2, 3, 4]]]
