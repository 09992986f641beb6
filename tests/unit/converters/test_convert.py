from __future__ import annotations

import json
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgectl_converters.bundle import blob_path, read_bundle
from edgectl_converters.convert import ConvertRequest, convert, copy_bundle, find_conversion
from edgectl_converters.loop_file import derive_loop, dump_loop
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import DType, Precision
from edgectl_protos.domain.errors import (
    CheckpointError,
    EdgectlError,
    LoopSpecError,
    ParityError,
    RouteError,
    ShapeError,
    ToolchainError,
)
from edgectl_protos.domain.loop import LoopSpec, SourceKind
from edgectl_testkit.bundles import tiny_graph
from edgectl_testkit.lerobot_dirs import CAMERAS, STATE, LeRobotDir, golden_of


class Bench:
    """A cache, a checkpoint that carries its export, and conversions of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.said: list[str] = []
        self.checkpoint = LeRobotDir().write_with_export(folder / "press", folder / "aside")

    def request(self, runtime="reference", precision=Precision.FP32, **changes):
        return replace(ConvertRequest(self.checkpoint, runtime, precision), **changes)

    def convert(self, *arguments, cache=None, **changes):
        self.said.clear()
        return convert(
            self.request(*arguments, **changes),
            cache_dir=cache or self.cache,
            config_dir=self.folder / "config",
            progress=self.said.append,
        )


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("shared"))


TARGETS = [
    ("reference", Precision.FP32),
    ("onnxrt", Precision.FP32),
    ("openvino", Precision.FP32),
    ("onnxrt", Precision.INT8),
]


@pytest.mark.parametrize(("runtime", "precision"), TARGETS)
def test_a_lerobot_directory_becomes_a_bundle_that_passed_its_gates(shared, runtime, precision):
    result = shared.convert(runtime, precision)
    manifest, _ = read_bundle(result.bundle_dir)
    (component,) = manifest.components
    assert (component.runtime, component.precision) == (runtime, precision)
    assert {gate.gate for gate in manifest.gates} == {"precision", "parity.max_abs_of_range", "parity.cosine"}
    assert all(gate.passed for gate in manifest.gates)
    frames = {spec.name: spec for spec in component.inputs}
    assert frames["images_top"].dtype is DType.UINT8
    assert frames["images_top"].shape == (1, 8, 10, 3)
    assert frames["state"].dtype is DType.FLOAT32
    assert [(entry.feature, entry.folded) for entry in manifest.policy.pre] == [
        (CAMERAS[0], True),
        (CAMERAS[1], True),
        (STATE, False),
    ]
    assert manifest.name == "press"
    assert manifest.golden is not None
    assert manifest.golden.count == 4


@pytest.mark.parametrize(("runtime", "precision"), TARGETS)
def test_the_same_conversion_elsewhere_gives_the_same_release(shared, tmp_path, runtime, precision):
    here = shared.convert(runtime, precision)
    # Another folder, another cache, another time: nothing of these may be in the bundle.
    moved = shutil.copytree(shared.checkpoint, tmp_path / "elsewhere" / "press")
    there = shared.convert(runtime, precision, cache=tmp_path / "cache", checkpoint=moved)
    assert there.release == here.release


def test_a_second_conversion_is_cached_and_says_nothing(bench):
    first = bench.convert()
    assert not first.cached
    assert bench.said
    second = bench.convert()
    assert second.cached
    assert second.release == first.release
    assert bench.said == []
    assert second.seconds < 0.5


def test_what_is_in_the_cache_is_found_without_converting(bench):
    find = {"cache_dir": bench.cache, "config_dir": bench.folder / "config"}
    assert find_conversion(bench.request(), **find) is None
    made = bench.convert()
    found = find_conversion(bench.request(), **find)
    assert found is not None
    assert found.release == made.release


def test_one_export_serves_all_targets(bench):
    bench.convert("reference")
    bench.convert("onnxrt")
    assert "restoring the carried export" not in bench.said


def test_two_at_once_convert_once(bench):
    results = []
    threads = [threading.Thread(target=lambda: results.append(bench.convert())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 2
    assert results[0].release == results[1].release
    steps = [path for path in (bench.cache / "steps").iterdir() if path.is_dir()]
    assert len(steps) == 3


@pytest.mark.parametrize("change", ["weights", "statistics", "golden"])
def test_anything_that_decides_the_actions_makes_another_release(bench, change):
    before = bench.convert().release
    directory = LeRobotDir()
    if change == "weights":
        directory.weights["model.action_head.bias"] += 1
    if change == "statistics":
        directory.pre_statistics[f"{STATE}.mean"] += 0.1
    aside = bench.folder / "again"
    directory.write_with_export(bench.checkpoint, aside)
    if change == "golden":
        from edgectl_converters.sources.carried_export import write_carried_export
        from edgectl_converters.sources.lerobot import WEIGHTS, checkpoint_files

        np.savez(aside / "golden.npz", **golden_of(directory, cases=2))
        checkpoint = bench.checkpoint
        write_carried_export(aside, checkpoint, checkpoint / WEIGHTS, checkpoint_files(checkpoint))
    after = bench.convert()
    assert not after.cached
    assert after.release != before


def test_a_name_changes_the_release_and_nothing_is_built_again(bench):
    before = bench.convert().release
    named = bench.convert(name="other")
    assert named.release != before
    assert named.manifest.name == "other"
    assert bench.said == []


def test_the_manifest_holds_no_time_no_path_and_no_host(bench):
    result = bench.convert()
    text = (result.bundle_dir / "edgectl.bundle.json").read_text()
    assert str(bench.folder) not in text
    assert not re.search(r"20\d\d-\d\d-\d\d", text)


def test_golden_cases_that_do_not_match_fail_the_conversion_and_cache_nothing(bench):
    aside = bench.folder / "wrong"
    directory = LeRobotDir()
    directory.write_with_export(bench.checkpoint, aside)
    golden = golden_of(directory)
    golden["out.action"][0, 0, 0] += 1.0
    rewrite_golden(bench.checkpoint, golden)
    for _ in range(2):
        with pytest.raises(ParityError, match="action differs by"):
            bench.convert()


@pytest.mark.parametrize("change", ["nan", "no output", "no input", "shape", "not npz"])
def test_golden_data_that_is_no_golden_data_is_refused(bench, change):
    golden = golden_of(LeRobotDir())
    if change == "nan":
        golden["out.action"][0, 0, 0] = np.nan
    if change == "no output":
        del golden["out.action"]
    if change == "no input":
        del golden[f"in.{STATE}"]
    if change == "shape":
        golden[f"in.{CAMERAS[0]}"] = golden[f"in.{CAMERAS[0]}"][:, :4]
    rewrite_golden(bench.checkpoint, golden, raw=b"text" if change == "not npz" else None)
    with pytest.raises(EdgectlError) as caught:
        bench.convert()
    assert caught.value.reason != "internal"
    assert "golden" in str(caught.value)


def rewrite_golden(checkpoint, golden, raw=None):
    """Put other golden data into the carried export, as if it had been exported so."""
    from edgectl_converters.card import sha256_of

    folder = checkpoint / "edgectl_export"
    if raw is None:
        np.savez(folder / "golden.npz", **golden)
    else:
        (folder / "golden.npz").write_bytes(raw)
    document = json.loads((folder / "export.json").read_bytes())
    document["export"]["golden.npz"] = str(sha256_of(folder / "golden.npz"))
    (folder / "export.json").write_text(json.dumps(document))


def test_a_precision_that_is_not_built_is_refused_before_anything_runs(bench):
    with pytest.raises(RouteError, match="no bf16 for onnxrt; it builds: fp32, int8"):
        bench.convert("onnxrt", Precision.BF16)
    assert bench.said == []


def test_an_unknown_runtime_is_refused(bench):
    with pytest.raises(RouteError, match="tensorrt"):
        bench.convert("tensorrt")


def test_a_checkpoint_without_export_or_toolchain_says_what_to_do(bench, monkeypatch):
    shutil.rmtree(bench.checkpoint / "edgectl_export")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("edgectl_converters.toolchain._base_python", missing_python)
    with pytest.raises(ToolchainError) as caught:
        bench.convert()
    assert "toolchain use lerobot" in caught.value.hint


def missing_python(wanted):
    raise ToolchainError(f"no python{wanted}", hint="edgectl toolchain use lerobot --python PATH")


def write_footage(folder):
    folder.mkdir()
    for index, camera in enumerate(CAMERAS):
        frames = np.random.default_rng(index).integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)
        np.save(folder / f"{camera}.npy", frames)
    np.save(folder / f"{STATE}.npy", np.zeros((6, 3), np.float32))
    return folder


def test_footage_travels_in_the_bundle_and_the_loop_reads_it_there(bench):
    footage = write_footage(bench.folder / "footage")
    result = bench.convert(footage=footage)
    paths = {entry.path for entry in result.manifest.files}
    assert {f"{CAMERAS[0]}.npy", f"{STATE}.npy"} <= paths
    loop = loop_of(result)
    assert {source.kind for source in loop.sources} == {SourceKind.RECORDED}
    assert all(source.path in paths for source in loop.sources)


def loop_of(result):
    entry = result.manifest.file("loop.json")
    return from_bytes(LoopSpec, blob_path(result.bundle_dir, entry.digest).read_bytes(), what="loop.json")


def test_a_loop_file_is_what_runs(bench):
    policy = bench.convert().manifest.policy
    loop = replace(derive_loop(policy, rate_hz=7.0), name="mine")
    (bench.folder / "loop.yaml").write_text(dump_loop(loop))
    assert loop_of(bench.convert(loop_file=bench.folder / "loop.yaml")) == loop


def test_a_loop_file_that_reads_what_is_not_there_is_refused(bench):
    policy = bench.convert().manifest.policy
    loop = derive_loop(policy)
    source = replace(loop.sources[0], kind=SourceKind.VIDEO, path="missing.mp4")
    (bench.folder / "loop.yaml").write_text(dump_loop(replace(loop, sources=(source, *loop.sources[1:]))))
    with pytest.raises(EdgectlError, match=r"missing\.mp4"):
        bench.convert(loop_file=bench.folder / "loop.yaml")


def test_a_loop_file_with_a_mistake_is_refused_before_anything_runs(bench):
    (bench.folder / "loop.yaml").write_text("loop: v1\nname: x\n")
    with pytest.raises(LoopSpecError, match=r"loop\.yaml"):
        bench.convert(loop_file=bench.folder / "loop.yaml")
    assert bench.said == []


def test_a_camera_of_another_size_is_refused_before_it_is_installed(bench):
    footage = write_footage(bench.folder / "footage")
    np.save(footage / f"{CAMERAS[0]}.npy", np.zeros((6, 9, 10, 3), np.uint8))
    with pytest.raises(ShapeError, match=r"\[9, 10, 3\].*\[8, 10, 3\]"):
        bench.convert(footage=footage)
    # Refused before anything long was begun.
    assert "checking parity with the golden cases" not in bench.said


@pytest.mark.parametrize("runtime", ["reference", "onnxrt", "openvino"])
def test_any_onnx_graph_becomes_a_bundle(tmp_path, runtime):
    (tmp_path / "net.onnx").write_bytes(tiny_graph())
    request = ConvertRequest(tmp_path / "net.onnx", runtime, Precision.FP32)
    result = convert(request, cache_dir=tmp_path / "c", config_dir=tmp_path, progress=lambda text: None)
    manifest, _ = read_bundle(result.bundle_dir)
    assert manifest.provenance.source == "onnx"
    assert manifest.golden is not None
    assert manifest.golden.count == 8
    assert all(gate.passed for gate in manifest.gates)


def test_a_graph_without_a_batch_dimension_keeps_its_shapes(tmp_path):
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [5]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    opsets = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), str(tmp_path / "n.onnx"))
    request = ConvertRequest(tmp_path / "n.onnx", "onnxrt", Precision.FP32)
    result = convert(request, cache_dir=tmp_path / "c", config_dir=tmp_path, progress=lambda text: None)
    assert result.manifest.components[0].inputs[0].shape == (5,)


def test_a_bundle_can_be_copied_out_and_never_over_something(bench):
    result = bench.convert()
    copy_bundle(result.bundle_dir, bench.folder / "out")
    assert read_bundle(bench.folder / "out")[0] == result.manifest
    assert {path.name for path in (bench.folder / "out").iterdir()} == {"edgectl.bundle.json", "blobs"}
    with pytest.raises(EdgectlError, match="exists already"):
        copy_bundle(result.bundle_dir, bench.folder / "out")


def test_a_checkpoint_that_is_not_there_is_an_error(bench):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        bench.convert(checkpoint=bench.folder / "absent")
