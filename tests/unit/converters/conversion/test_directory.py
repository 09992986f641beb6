from __future__ import annotations

import json
import re
import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgectl_converters.assignment import Assignment, BoardOption
from edgectl_converters.bundle import blob_path, read_bundle
from edgectl_converters.card import Declared
from edgectl_converters.conversion import (
    Workshop,
    export_checkpoint,
    find_conversion,
    plan_conversion,
    run_conversion,
)
from edgectl_converters.job import Job
from edgectl_converters.loop_file import derive_loop, dump_loop
from edgectl_converters.observations.opened import open_footage
from edgectl_converters.plan import ConvertRequest
from edgectl_converters.pythons import PythonSearch
from edgectl_converters.targets.registry import target
from edgectl_converters.toolchain import Toolchains
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import (
    CheckpointError,
    EdgectlError,
    LoopSpecError,
    ParityError,
    RouteError,
    ShapeError,
    SourceError,
    ToolchainError,
    UsageError,
)
from edgectl_protos.domain.loop import LoopSpec, SourceKind
from edgectl_protos.domain.policy import Normalise
from edgectl_testkit.bundles import tiny_graph
from edgectl_testkit.lerobot_datasets import write_dataset
from edgectl_testkit.lerobot_dirs import CAMERAS, STATE, LeRobotDir, golden_of


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


TARGETS = [
    ("reference", "fp32"),
    ("onnxrt", "fp32"),
    ("openvino", "fp32"),
    ("onnxrt", "int8"),
]


@pytest.mark.parametrize(("runtime", "scheme"), TARGETS)
def test_a_lerobot_directory_becomes_a_bundle_that_passed_its_gates(shared, runtime, scheme):
    result = shared.convert(runtime, scheme)
    manifest, _ = read_bundle(result.bundle_dir)
    (component,) = manifest.components
    assert (component.runtime, component.scheme) == (runtime, scheme)
    judged = {(gate.gate, gate.subject) for gate in manifest.gates}
    assert {("precision", "act"), ("oracle.rmse", "onnxrt"), ("parity.rmse", "executed")} <= judged
    assert {("parity.rmse", "rest of the chunk"), ("parity.worst", "executed")} <= judged
    assert {"processing", "again, after another case"} <= {subject for _, subject in judged}
    assert ("parity.share", "taken for another observation") in judged
    assert ("parity.share", f"taken for {CAMERAS[0]} and {CAMERAS[1]} exchanged") in judged
    assert all(gate.passed and not gate.pending for gate in manifest.gates)
    ports = {spec.name: spec for spec in component.inputs}
    assert ports["top"].dtype is DType.UINT8
    assert ports["top"].shape == (1, 8, 10, 3)
    assert ports["state"].dtype is DType.FLOAT32
    assert [step.input for step in manifest.program.steps if isinstance(step, Normalise)] == [STATE]
    assert manifest.name == "press"
    assert manifest.golden is not None
    assert manifest.golden.count == 4


@pytest.mark.parametrize(("runtime", "scheme"), TARGETS)
def test_the_same_conversion_elsewhere_gives_the_same_release(shared, tmp_path, runtime, scheme):
    here = shared.convert(runtime, scheme)
    # Another folder, another cache, another time: nothing of these may be in the bundle.
    moved = shutil.copytree(shared.checkpoint, tmp_path / "elsewhere" / "press")
    there = shared.convert(runtime, scheme, cache=tmp_path / "cache", checkpoint=moved)
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
    assert find_conversion(bench.request(), bench.shop()) is None
    made = bench.convert()
    found = find_conversion(bench.request(), bench.shop())
    assert found is not None
    assert (found.release, found.cached) == (made.release, True)


def steps(plan):
    return [(step.kind, step.tool, step.cached) for step in plan.steps]


def test_a_plan_says_what_is_to_be_done_and_does_nothing(bench):
    plan = plan_conversion(bench.request("onnxrt"), bench.shop())
    assert steps(plan) == [
        ("export", "lerobot", False),
        ("pass", "fold", False),
        ("build", "onnxrt", False),
        ("trace", "onnxrt", False),
        ("prove", "onnxrt fp32", False),
        ("bundle", "", False),
    ]
    assert not plan.cached
    assert all(step.key and step.toolchain == "host" for step in plan.steps)
    assert plan.steps[0].disk_bytes
    assert bench.said == []
    assert run_conversion(plan, bench.shop(), bench.said.append).manifest.name == "press"
    assert plan_conversion(bench.request("onnxrt"), bench.shop()).cached
    after = plan_conversion(bench.request("reference"), bench.shop())
    assert [step.kind for step in after.steps if not step.cached] == ["build", "prove", "bundle"]


def test_calibration_is_planned_for_the_schemes_that_need_it(bench):
    plan = plan_conversion(bench.request("openvino", "int8"), bench.shop())
    assert [step.kind for step in plan.steps] == [
        *("export", "pass", "build", "trace", "capture", "build", "prove", "bundle")
    ]
    assert "convolutions; keep-5" in plan.steps[-2].note


def test_what_a_finished_bundle_came_from_may_be_gone(bench):
    bench.convert()
    shop = bench.shop()
    for key, record, _ in list(shop.steps.records()):
        if record.kind in ("export", "pass", "build"):
            assert shop.steps.remove(key)
    plan = plan_conversion(bench.request(), shop)
    assert plan.cached
    assert [step.kind for step in plan.steps] == ["trace", "prove", "bundle"]
    assert bench.convert().cached


def test_a_damaged_step_is_made_anew(bench):
    release = bench.convert().release
    for blob in bench.cache.glob("steps/*/out/blobs/sha256/*"):
        blob.unlink()
    again = bench.convert()
    assert not again.cached
    assert again.release == release
    assert read_bundle(again.bundle_dir)


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
    kinds = sorted(record.kind for _, record, _ in bench.shop().steps.records())
    assert kinds == ["build", "build", "bundle", "count", "export", "pass", "prove", "trace"]


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
        rewrite_golden(bench.checkpoint, golden_of(directory, cases=4) | {f"in.{STATE}": np.ones((4, 3), np.float32)})
        with pytest.raises(ParityError):
            bench.convert()
        return
    after = bench.convert()
    assert not after.cached
    assert after.release != before


def test_what_the_board_says_makes_another_build_and_the_same_oracle(bench):
    def job(*options):
        assignment = replace(Assignment.of("onnxrt", "int8"), board=options)
        return Job.read(bench.request(assignment=assignment), bench.shop())

    plain, told = job(), job(BoardOption("onnxrt", "soc", "Q1"), BoardOption("other", "sm", "8.7"))
    assert [dict(build.options) for attempt in told.attempts for build in attempt] == [{"soc": "Q1"}] * 6
    for one, other in zip(plain.attempts, told.attempts, strict=True):
        assert one[0].key != other[0].key
        assert (one[0].rank_key != other[0].rank_key) == bool(one[0].rank_key)
    assert [(build.key, build.options) for build in plain.oracle] == [(build.key, {}) for build in told.oracle]


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
        with pytest.raises(ParityError, match="executed: "):
            bench.convert()


@pytest.mark.parametrize("scheme", ["fp32", "int8"])
def test_exported_graphs_that_disagree_with_their_reference_prove_nothing_at_any_scheme(bench, scheme):
    golden = golden_of(LeRobotDir())
    # Too much for floats, and within what integers may do.
    golden["out.action"] += (0.03 * golden["out.action"].std(axis=(0, 1))).astype(np.float32)
    rewrite_golden(bench.checkpoint, golden)
    complaint = "the exported graphs, run as they are, do not do what .* does: executed: rmse 0.03 in "
    with pytest.raises(ParityError, match=complaint) as caught:
        bench.convert("onnxrt", scheme)
    assert "edgectl inspect" in caught.value.hint


def test_what_the_exported_graphs_did_travels_in_the_bundle(bench):
    result = bench.convert()
    manifest = result.manifest
    assert manifest.golden.trace == "trace.npz"
    with np.load(blob_path(result.bundle_dir, manifest.file("trace.npz").digest)) as trace:
        assert {"0.in.state", "0.out.chunk", f"contrast.{CAMERAS[0]} and {CAMERAS[1]} exchanged"} <= set(trace.files)


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
    document["stored"]["golden.npz"] = str(sha256_of(folder / "golden.npz"))
    (folder / "export.json").write_text(json.dumps(document))


def test_a_scheme_that_is_not_built_is_refused_before_anything_runs(bench):
    with pytest.raises(RouteError, match="no bf16 for onnxrt; it builds: fp32, "):
        bench.convert("onnxrt", "bf16")
    assert bench.said == []


def test_an_unknown_runtime_is_refused(bench):
    with pytest.raises(RouteError, match="teleport"):
        bench.convert("teleport")


def test_a_component_that_the_policy_lacks_is_named(bench):
    with pytest.raises(UsageError, match="no component 'vision'; it has: act"):
        bench.convert("reference", "vision=fp32,fp32")


def test_a_checkpoint_without_export_or_toolchain_says_what_to_do(bench):
    shutil.rmtree(bench.checkpoint / "edgectl_export")
    with pytest.raises(ToolchainError, match=r"needs Python 3\.11") as caught:
        bench.convert()
    assert "toolchain use lerobot-0.4" in caught.value.hint
    # Planning it is no error: the toolchain is made first.
    plan = plan_conversion(bench.request(), bench.shop())
    assert (plan.steps[0].toolchain, plan.steps[0].cached) == ("lerobot-0.4", False)
    assert "minutes" in plan.steps[0].note


def test_without_an_agent_on_the_host_gates_are_left_to_the_device(bench):
    for worker in ((), (sys.executable, "-m", "edgectl_no_agent")):
        result = bench.convert("reference", worker=worker, cache=bench.folder / f"cache{len(worker)}")
        assert [(gate.gate, gate.pending) for gate in result.manifest.gates] == [
            ("oracle", True),
            ("precision", True),
            ("parity.rmse", True),
        ]


def test_the_export_of_a_bare_graph_is_not_stored(bench):
    (bench.folder / "net.onnx").write_bytes(tiny_graph())
    with pytest.raises(RouteError, match="without a toolchain"):
        export_checkpoint(bench.folder / "net.onnx", bench.shop(), bench.said.append)


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


def test_frames_of_another_size_are_taken_where_the_loop_resizes_them(bench):
    footage = write_footage(bench.folder / "footage")
    np.save(footage / f"{CAMERAS[0]}.npy", np.full((6, 16, 20, 3), 9, np.uint8))
    loop = derive_loop(bench.convert().manifest.policy, footage)
    resized = replace(loop, sources=(replace(loop.sources[0], resize=True), *loop.sources[1:]))
    (bench.folder / "loop.yaml").write_text(dump_loop(resized))
    assert loop_of(bench.convert(footage=footage, loop_file=bench.folder / "loop.yaml")) == resized


def test_a_dataset_is_footage_and_travels_cut_to_what_the_loop_reads(bench):
    names = ("shoulder", "gripper")
    dataset = write_dataset(bench.folder / "set", "v3.0", [6, 6], names=names)
    policy = bench.convert().manifest.policy
    loop = derive_loop(policy, open_footage(policy, dataset, bench.shop()))
    loop = replace(loop, sources=tuple(replace(s, resize=s.feature in CAMERAS) for s in loop.sources))
    (bench.folder / "loop.yaml").write_text(dump_loop(loop))
    result = bench.convert(footage=dataset, loop_file=bench.folder / "loop.yaml")
    recordings = {f"{CAMERAS[0]}.mp4", f"{CAMERAS[1]}.npy", f"{STATE}.npy"}
    assert recordings <= {entry.path for entry in result.manifest.files}
    assert [one.name for one in result.manifest.policy.dimensions] == list(names)
    assert "shoulder" in {gate.note for gate in result.manifest.gates}
    assert {source.path for source in loop_of(result).sources} == recordings


def test_footage_of_another_robot_is_refused(bench):
    (bench.folder / "footage").mkdir()
    (bench.folder / "footage/camera.mp4").touch()
    with pytest.raises(SourceError, match=r"it has camera\.mp4; wanted observation\.images\.top\.mp4"):
        bench.convert(footage=bench.folder / "footage")


def frames_graph(divisor):
    """Means of the channels of frames [1, 3, 8, 8] of floats, divided first where there is a divisor."""
    tensor, f = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    nodes = [onnx.helper.make_node("Div" if divisor else "Add", ["frame", "k"], ["scaled"])]
    nodes.append(onnx.helper.make_node("Conv", ["scaled", "w"], ["map"]))
    nodes.append(onnx.helper.make_node("GlobalAveragePool", ["map"], ["pooled"]))
    nodes.append(onnx.helper.make_node("Flatten", ["pooled"], ["action"]))
    weights = np.random.default_rng(0).normal(0, 1, (4, 3, 3, 3)).astype(np.float32)
    values = [onnx.numpy_helper.from_array(np.float32(divisor or 0), "k"), onnx.numpy_helper.from_array(weights, "w")]
    ports = [tensor("frame", f, [1, 3, 8, 8])], [tensor("action", f, [1, 4])]
    graph = onnx.helper.make_graph(nodes, "g", *ports, values)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)


def test_int8_is_refused_where_nothing_shows_how_bright_frames_are(tmp_path):
    assert (
        convert_graph(tmp_path / "known", frames_graph(255), scheme="int8").manifest.golden.inputs_kind == "synthetic"
    )
    found = convert_graph(tmp_path / "fp32", frames_graph(0))
    assert found.manifest.golden.inputs_kind == "synthetic, unproved range"
    with pytest.raises(RouteError, match="frame takes frames of float32, and nothing shows in which range") as caught:
        convert_graph(tmp_path / "int8", frames_graph(0), scheme="int8")
    assert "frame.npy" in caught.value.hint


def convert_graph(folder, model, runtime="onnxrt", scheme="fp32", say=lambda text: None, **declared):
    folder.mkdir(exist_ok=True)
    (folder / "net.onnx").write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    shop = Workshop(folder / "c", Toolchains(folder / "c", folder), threads=1)
    request = ConvertRequest(folder / "net.onnx", Assignment.of(runtime, scheme), declared=Declared(**declared))
    return run_conversion(request, shop, say)


@pytest.mark.parametrize("runtime", ["reference", "onnxrt", "openvino"])
def test_any_onnx_graph_becomes_a_bundle(tmp_path, runtime):
    manifest, _ = read_bundle(convert_graph(tmp_path, tiny_graph(), runtime).bundle_dir)
    assert manifest.provenance.source == "onnx"
    assert manifest.golden is not None
    assert manifest.golden.count == 8
    assert all(gate.passed for gate in manifest.gates)


@pytest.mark.parametrize("shape", [[5], [1, 5], [3, 2], [1, 4, 2], [2, 4, 2]])
@pytest.mark.parametrize("names", [("pred", "action"), ("action", "other"), ("y", "z")])
def test_outputs_of_any_name_and_rank_pass_on_the_device(tmp_path, shape, names):
    nodes = [onnx.helper.make_node("Neg", ["x"], [names[0]]), onnx.helper.make_node("Abs", ["x"], [names[1]])]
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("x", *names)]
    graph = onnx.helper.make_graph(nodes, "g", values[:1], values[1:])
    opsets = [onnx.helper.make_opsetid("", 20)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    result = convert_graph(tmp_path, model, shapes={"x": tuple(shape)})
    assert result.manifest.components[0].inputs[0].shape == tuple(shape)
    assert result.manifest.program.action == names[0]
    assert {gate.subject for gate in result.manifest.gates} >= {"policy", "executed", names[1]}


def four_products(outliers):
    """Four products, the last `outliers` of which see one feature that is a thousand times wider, and unused."""
    rng = np.random.default_rng(3)
    weights = [rng.normal(0, 1, (8, 4)).astype(np.float32) for _ in range(4)]
    wide = np.array([1000.0] + [1.0] * 7, np.float32)
    # Golden cases may go beyond what the calibration saw: not behind a tanh.
    nodes = [onnx.helper.make_node("Tanh", ["x"], ["t"]), onnx.helper.make_node("Mul", ["t", "wide"], ["h"])]
    for index, matrix in enumerate(weights):
        seen = "h" if index >= 4 - outliers else "t"
        matrix[0] *= seen == "t"
        nodes.append(onnx.helper.make_node("MatMul", [seen, f"w{index}"], [f"p{index}"]))
    nodes.append(onnx.helper.make_node("Sum", [f"p{index}" for index in range(4)], ["y"]))
    constants = [onnx.numpy_helper.from_array(matrix, f"w{index}") for index, matrix in enumerate(weights)]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 8])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4])],
        [*constants, onnx.numpy_helper.from_array(wide, "wide")],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def test_int8_that_misses_its_gate_is_mended_by_keeping_the_layer_that_loses_most(tmp_path):
    said = []
    result = convert_graph(tmp_path, four_products(1), scheme="int8", say=said.append)
    built = next(tool for tool in result.manifest.provenance.tools if tool.name.startswith("build"))
    assert built.options["variant"] == "keep-5"
    assert built.options["kept_in_fp32"] == "1 of 4 layers: w3"
    assert [text.split(" ")[0] for text in said if "did not pass" in text] == ["default", "convolutions"]
    assert any(gate.gate == "precision" and "int8" in gate.note for gate in result.manifest.gates)


def test_int8_that_cannot_be_mended_is_refused_with_what_the_nearest_was_off_by(tmp_path):
    complaint = r"none of default, .* passed the gate; the nearest, keep-\d+: executed: .* in y\["
    with pytest.raises(ParityError, match=complaint) as refused:
        convert_graph(tmp_path, four_products(4), scheme="int8")
    assert refused.value.hint


@pytest.mark.parametrize("runtime", ["onnxrt", "openvino"])
def test_a_state_is_fed_back_in_every_runtime(tmp_path, runtime):
    helper = onnx.helper
    nodes = [helper.make_node("Add", ["obs", "h_in"], ["s"]), helper.make_node("Tanh", ["s"], ["h_out"])]
    nodes.append(helper.make_node("Neg", ["h_out"], ["action"]))
    values = {
        name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3])
        for name in ("obs", "h_in", "action", "h_out")
    }
    graph = helper.make_graph(nodes, "g", [values["obs"], values["h_in"]], [values["action"], values["h_out"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    manifest = convert_graph(tmp_path, model, runtime).manifest
    assert manifest.program.states == ("h_out",)
    assert {gate.subject for gate in manifest.gates if gate.gate.startswith("parity")} >= {"executed", "h_out"}
    assert all(gate.passed for gate in manifest.gates)


def halves() -> onnx.ModelProto:
    helper = onnx.helper
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT16, [1, 8]) for name in ("x", "y")]
    weights = onnx.numpy_helper.from_array(np.linspace(-1, 1, 64).reshape(8, 8).astype(np.float16), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", values[:1], values[1:], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_a_graph_of_halves_is_judged_as_such(tmp_path):
    manifest = convert_graph(tmp_path, halves()).manifest
    (component,) = manifest.components
    assert (component.scheme, component.tolerance) == ("fp32", target("onnxrt").tolerance("fp16"))


def test_a_graph_that_is_something_already_is_built_in_nothing_else(tmp_path):
    with pytest.raises(RouteError, match="fp16 already and is taken as it is"):
        convert_graph(tmp_path, halves(), scheme="int8")


def test_a_checkpoint_that_is_not_there_is_an_error(bench):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        bench.convert(checkpoint=bench.folder / "absent")
