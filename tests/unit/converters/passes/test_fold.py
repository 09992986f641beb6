from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from edgectl_agent.worker.ops.normalise import normaliser
from edgectl_agent.worker.ops.resize import BilinearResizer
from edgectl_converters.passes.base import PassRequest
from edgectl_converters.passes.fold import FoldFrames
from edgectl_converters.sources.base import ARRAYS, GOLDEN, Export, ExportedComponent
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy
from edgectl_protos.domain.program import Anchor, Call, Fit, Normalise, Program, Resize
from edgectl_testkit.bundles import (
    CAMERAS,
    STATE,
    tiny_arrays,
    tiny_component,
    tiny_golden,
    tiny_graph,
    tiny_policy,
    tiny_program,
)

SIZE = (6, 9)
"""What the vision component takes, smaller than the camera's 8 x 10."""


def fold(export, folder, arrays, golden):
    out = folder.parent / f"{folder.name}-folded"
    out.mkdir()
    np.savez(folder / ARRAYS, **arrays)
    np.savez(folder / GOLDEN, **golden)
    return FoldFrames().apply(PassRequest("fold", export, str(folder), str(out)), lambda text: None), out


@pytest.fixture
def tiny(tmp_path):
    """The export of the tiny policy, in a folder."""
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "act.onnx").write_bytes(tiny_graph())
    part = tiny_component()
    component = ExportedComponent(part.name, {"onnx": "act.onnx"}, part.inputs, part.outputs)
    return Export(tiny_policy(), tiny_program(), (component,), "numpy", "synthetic", 3), folder


def test_frames_enter_as_bytes_and_the_state_as_before(tiny):
    export, folder = tiny
    found, out = fold(export, folder, tiny_arrays(), tiny_golden())
    ports = {spec.name: spec for spec in found.components[0].inputs}
    for name in ("top", "wrist"):
        assert ports[name] == TensorSpec(name, DType.UINT8, (1, 8, 10, 3))
    assert ports["state"].dtype is DType.FLOAT32
    onnx.checker.check_model(onnx.load(str(out / "act.onnx")), full_check=True)
    assert [step.id for step in found.program.steps] == ["norm.state", "act", "post"]
    assert found.program.steps[1].inputs == {"top": CAMERAS[0], "wrist": CAMERAS[1], "state": "state"}
    assert {spec.name for spec in found.program.tensors} == {"state", "chunk", "action"}
    assert {path.name for path in out.iterdir()} == {"act.onnx", ARRAYS, GOLDEN}


def test_the_numbers_are_bit_for_bit_those_of_the_executor(tiny):
    export, folder = tiny
    _, out = fold(export, folder, tiny_arrays(), tiny_golden())
    rng = np.random.default_rng(0)
    inside, outside = ({"state": rng.normal(0, 1, (1, 3)).astype(np.float32)} for _ in range(2))
    outside["state"] = inside["state"]
    program = {spec.name: spec for spec in export.program.tensors}
    for step in export.program.steps[:2]:
        feature = export.policy.observation(step.input)
        frame = rng.integers(0, 256, feature.shape, dtype=np.uint8)
        inside[step.output] = frame[None]
        run = normaliser(step, export.policy.observed(feature), program[step.output], tiny_arrays())
        outside[step.output] = run(frame).copy()[None]
    (here,) = ReferenceEvaluator(str(out / "act.onnx")).run(None, inside)
    (there,) = ReferenceEvaluator(onnx.load_from_string(tiny_graph())).run(None, outside)
    np.testing.assert_array_equal(here, there)


def test_a_tensor_that_golden_cases_compare_stays_in_the_program(tiny):
    export, folder = tiny
    golden = tiny_golden() | {"out.top": np.zeros((3, 3, 8, 10), np.float32)}
    found, _ = fold(export, folder, tiny_arrays(), golden)
    assert [step.id for step in found.program.steps] == ["norm.top", "norm.state", "act", "post"]


def test_an_export_with_nothing_to_fold_comes_out_as_it_was(tiny):
    export, folder = tiny
    arrays = {name: values for name, values in tiny_arrays().items() if STATE in name}
    found, out = fold(export, folder, arrays, tiny_golden())
    assert found == export
    assert (out / "act.onnx").read_bytes() == tiny_graph()


def vision(folder, *, history=1, fit=Fit.STRETCH, anchor=Anchor.CENTRE, scales=(63.75, 63.75), rounded=False):
    """A component that is called once a camera, behind a resize: its output is its input, flat."""
    lead = (history,) if history > 1 else ()
    port = (1, *lead, 3, *SIZE)
    values = [helper.make_tensor_value_info("planes", TensorProto.FLOAT, port)]
    size = int(np.prod(port))
    shape = onnx.numpy_helper.from_array(np.array([1, size], np.int64), "shape")
    branch = helper.make_graph(
        [helper.make_node("Identity", ["planes"], ["b"])], "b", [], [helper.make_tensor_value_info("b", 1, port)]
    )
    truth = onnx.numpy_helper.from_array(np.array(True), "truth")
    nodes = [
        # Read inside of branches only.
        helper.make_node("If", ["truth"], ["same"], then_branch=branch, else_branch=branch),
        helper.make_node("Reshape", ["same", "shape"], ["flat"]),
    ]
    outputs = [helper.make_tensor_value_info("flat", TensorProto.FLOAT, [1, size])]
    graph = helper.make_graph(nodes, "vision", values, outputs, [shape, truth])
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(folder / "vision.onnx"))
    frames = tuple(Feature(name, FeatureKind.VISUAL, DType.UINT8, (8, 10, 3)) for name in CAMERAS)
    action = Feature("action", FeatureKind.ACTION, DType.FLOAT32, (size,))
    tensors, steps = [TensorSpec("action", DType.FLOAT32, (1, size)), TensorSpec("f1", DType.FLOAT32, (1, size))], []
    for index, camera in enumerate(CAMERAS):
        kind = DType.UINT8 if rounded else DType.FLOAT32
        tensors += [TensorSpec(f"r{index}", kind, (*lead, *SIZE, 3))]
        tensors += [TensorSpec(f"p{index}", DType.FLOAT32, (*lead, 3, *SIZE))]
        steps += [Resize(f"geo{index}", camera, f"r{index}", fit, anchor)]
        steps += [Normalise(f"norm{index}", f"r{index}", f"p{index}", f"a{index}", planes=True)]
        steps += [Call(f"vision{index}", "vision", {"planes": f"p{index}"}, {"flat": ("action", "f1")[index]})]
    component = ExportedComponent(
        "vision",
        {"onnx": "vision.onnx"},
        (TensorSpec("planes", DType.FLOAT32, port),),
        (TensorSpec("flat", DType.FLOAT32, (1, size)),),
    )
    arrays = {}
    for index, scale in enumerate(scales):
        arrays |= {f"a{index}.offset": np.float32([1, 2, 3]), f"a{index}.scale": np.full(3, scale, np.float32)}
    program = Program(tuple(tensors), tuple(steps), "action", arrays=ARRAYS)
    policy = Policy("v", frames, action, 1, 1, history)
    return Export(policy, program, (component,), "numpy", "synthetic", 1), arrays


@pytest.mark.parametrize("history", [1, 2])
@pytest.mark.parametrize(
    ("fit", "anchor"), [(Fit.STRETCH, Anchor.CENTRE), (Fit.PAD, Anchor.CENTRE), (Fit.PAD, Anchor.BOTTOM_RIGHT)]
)
def test_a_resize_goes_in_for_every_camera_that_is_treated_alike(tmp_path, history, fit, anchor):
    export, arrays = vision(tmp_path / "v", history=history, fit=fit, anchor=anchor)
    golden = {"in.x": np.zeros(1), "out.action": np.zeros(1)}
    found, out = fold(export, tmp_path / "v", arrays, golden)
    lead = (history,) if history > 1 else ()
    assert found.components[0].inputs == (TensorSpec("planes", DType.UINT8, (1, *lead, 8, 10, 3)),)
    assert [step.id for step in found.program.steps] == ["vision0", "vision1"]
    frames = np.random.default_rng(0).integers(0, 256, (1, *lead, 8, 10, 3), dtype=np.uint8)
    (here,) = ReferenceEvaluator(str(out / "vision.onnx")).run(None, {"planes": frames})
    resize = BilinearResizer((8, 10, 3), *SIZE, fit=fit, anchor=anchor, rounded=False)
    there = np.stack([resize(frame).copy() for frame in frames.reshape(-1, 8, 10, 3)])
    there = ((there - arrays["a0.offset"]) / arrays["a0.scale"]).transpose(0, 3, 1, 2).reshape(1, -1)
    np.testing.assert_allclose(here, there, atol=1e-5)


def test_cameras_that_are_treated_differently_stay_outside(tmp_path):
    export, arrays = vision(tmp_path / "v", scales=(63.75, 64.0))
    found, _ = fold(export, tmp_path / "v", arrays, {"out.action": np.zeros(1)})
    assert found == export


def test_what_is_rounded_to_bytes_outside_stays_there_and_the_rest_goes_in(tmp_path):
    export, arrays = vision(tmp_path / "v", rounded=True)
    found, _ = fold(export, tmp_path / "v", arrays, {"out.action": np.zeros(1)})
    assert [step.id for step in found.program.steps] == ["geo0", "vision0", "geo1", "vision1"]
    assert found.components[0].inputs[0].shape == (1, *SIZE, 3)
