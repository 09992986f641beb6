"""Whether a loaded release computes what it should: with and without a trace, and with everything wrong with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgectl_agent.worker.parity import run_trace
from edgectl_agent.worker.release import read_release
from edgectl_converters.targets.registry import target
from edgectl_protos.domain.artifact import Digest, DType, FileEntry
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, NonFiniteError, ShapeError
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy
from edgectl_protos.domain.program import Call, Generate, Program, Unnormalise
from edgectl_testkit import numpy_denoiser
from edgectl_testkit.bundles import STATE, release_dir, tiny_bundle, tiny_golden, tiny_graph
from edgectl_testkit.executors import ExecutorMaker
from edgectl_testkit.parity_reports import (
    failing,
    figure_of,
    ignore,
    parity,
    rewritten,
    subjects,
    traced,
    with_manifest,
    with_trace,
)
from edgectl_testkit.programs import (
    VOCABULARY,
    component,
    graph_of,
    language_component,
    language_graph,
    language_text,
    spec,
)

FP32, INT8 = (target("onnxrt").tolerance(scheme) for scheme in ("fp32", "int8"))


# --- without a trace -------------------------------------------------------------------------------------------------


def test_golden_cases_of_the_same_policy_pass(release):
    seen = []
    report = parity(release, seen=seen)
    assert (report.cases, report.failures) == (3, ())
    assert [one.name for one in report.dimensions] == ["action[0]", "action[1]"]
    assert report.worst.rmse < 1e-5
    assert subjects(report)[-1] == "again, after another case"
    assert not {"processing", "act"} & set(subjects(report))
    assert seen == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0]


def test_actions_that_are_off_fail_with_how_much_in_the_robots_units(tmp_path):
    bundle, _ = tiny_bundle(tmp_path / "b", golden_shift=0.1)
    report = parity(read_release(release_dir(bundle, tmp_path / "r")))
    assert {"executed", "rest of the chunk"} <= failing(report)
    assert report.worst.rmse == pytest.approx(0.1, abs=1e-5)


def test_a_graph_with_other_weights_fails(tmp_path):
    bundle, _ = tiny_bundle(tmp_path / "b", graph=tiny_graph(add=0.05))
    report = parity(read_release(release_dir(bundle, tmp_path / "r")))
    assert "executed" in failing(report)
    assert report.worst.worst == pytest.approx(0.1, abs=1e-5)


def test_a_release_without_golden_cases_has_no_report(release):
    assert parity(with_manifest(release, golden=None)) is None


def test_other_tensors_are_compared_by_their_names(release):
    states = (tiny_golden()[f"in.{STATE}"] - 1) / 2
    report = parity(rewritten(release, **{"out.state": states}))
    assert report.failures == ()
    assert figure_of(report, "state").value < 1e-6
    assert failing(parity(rewritten(release, **{"out.state": states[::-1]}))) == {"state"}


def test_actions_of_another_shape_are_refused(release):
    with pytest.raises(ShapeError, match="action"):
        parity(rewritten(release, **{"out.action": np.zeros((3, 9, 2), np.float32)}))
    with pytest.raises(ShapeError, match=r"the action is \[3, 4, 2\] here, \[3, 4, 3\] in the golden cases"):
        parity(rewritten(release, **{"out.action": np.zeros((3, 4, 3), np.float32)}))


def test_a_nan_in_an_action_is_an_error_and_not_a_figure(release):
    state = tiny_golden()[f"in.{STATE}"].copy()
    state[1, 0] = np.nan
    with pytest.raises(NonFiniteError):
        parity(rewritten(release, **{f"in.{STATE}": state}))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_golden_value_that_is_not_finite_is_an_error_and_no_pass(release, value):
    actions = tiny_golden()["out.action"].copy()
    actions[0, 0, 0] = value
    with pytest.raises(NonFiniteError, match="1 of 24 values of the action are not finite in the golden cases"):
        parity(rewritten(release, **{"out.action": actions}))


def test_what_depends_on_the_case_before_is_refused_where_it_should_begin_anew(release):
    maker = ExecutorMaker(release)
    (graph,) = maker.graphs.values()
    infer, last = graph.infer, [0.0]

    def haunted(feeds):
        found = {port: values + np.float32(1e-2 * last[0]) for port, values in infer(feeds).items()}
        last[0] = float(feeds["state"].sum())
        return found

    graph.infer = haunted
    report = parity(release, maker)
    assert {"executed", "again, after another case"} <= failing(report)
    assert figure_of(report, "again, after another case").at in {"action[0]", "action[1]"}


# --- with a trace ----------------------------------------------------------------------------------------------------


@pytest.fixture
def flow(tmp_path):
    return numpy_denoiser.lay_out(tmp_path, FP32)


def test_a_trace_is_what_the_oracle_did_with_the_golden_cases_and_for_other_observations(flow):
    seen = []
    report, trace = run_trace(flow, ExecutorMaker(flow), seen.append)
    assert (report.cases, report.failures) == (6, ())
    contrasts = {"another observation", "another top", "another wrist", "another state", "top and wrist exchanged"}
    assert {key[len("contrast.") :] for key in trace if key.startswith("contrast.")} == contrasts
    assert {f"taken for {name}" for name in contrasts} <= set(subjects(report))
    assert all(one.effect > 0 for one in report.dimensions)
    assert seen == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_an_oracle_that_does_not_do_what_the_reference_does_says_by_how_much(tmp_path):
    bundle, _ = tiny_bundle(tmp_path / "b", golden_shift=0.1)
    release = read_release(release_dir(bundle, tmp_path / "r"))
    report, trace = run_trace(release, ExecutorMaker(release), ignore)
    assert "executed" in failing(report)
    assert "0.out.action" in trace


def test_a_release_without_golden_cases_cannot_be_traced(release):
    with pytest.raises(BundleError, match="no golden cases to trace"):
        run_trace(with_manifest(release, golden=None), ExecutorMaker(release), ignore)


def test_every_call_and_the_processing_are_compared_with_the_trace(flow):
    report = parity(traced(flow))
    assert report.failures == ()
    calls = ["see.top", "see.wrist", "prefix", "step 1/4", "step 2/4", "step 3/4", "step 4/4"]
    assert [name for name in subjects(report) if name in calls] == calls
    assert figure_of(report, "processing").value < 1e-5
    assert "taken for top and wrist exchanged" in subjects(report)
    assert all(one.effect > 0 for one in report.dimensions)


def test_weights_in_integers_pass_at_the_tolerance_of_integers_and_not_at_that_of_floats(tmp_path):
    exact = numpy_denoiser.lay_out(tmp_path / "exact", FP32)
    trace = run_trace(exact, ExecutorMaker(exact), ignore)[1]
    coarse = {t: numpy_denoiser.lay_out(tmp_path / str(t.rmse), t, coarse=1 / 80) for t in (FP32, INT8)}
    report = parity(with_trace(coarse[INT8], trace))
    assert report.failures == ()
    assert 5e-3 < figure_of(report, "executed").value < 0.1
    # Around them the program computes as exactly as ever.
    assert figure_of(report, "processing").value < 1e-5
    assert {"executed", "prefix"} <= failing(parity(with_trace(coarse[FP32], trace)))


def test_an_integer_that_differs_is_not_hidden_by_numbers_that_nearly_do(tmp_path):
    model = onnx.load_from_string(tiny_graph())
    model.graph.initializer.append(numpy_helper.from_array(np.arange(200)[None], "order"))
    model.graph.node.append(helper.make_node("Identity", ["order"], ["best"]))
    model.graph.output.append(helper.make_tensor_value_info("best", TensorProto.INT64, [1, 200]))
    bundle, _ = tiny_bundle(tmp_path / "b", graph=model.SerializeToString())
    found = read_release(release_dir(bundle, tmp_path / "r"))
    (act,), program = found.manifest.components, found.manifest.program
    best = spec("best", 1, 200, dtype=DType.INT64)
    *before, call, post = program.steps
    call = replace(call, outputs={**call.outputs, "best": "best"})
    program = replace(program, tensors=(*program.tensors, best), steps=(*before, call, post))
    two = with_manifest(found, program=program, components=(replace(act, outputs=(*act.outputs, best)),))
    trace = run_trace(two, ExecutorMaker(two), ignore)[1]
    trace["0.out.action"] += 0.6 * FP32.inner * trace["0.out.action"].std()
    assert figure_of(parity(with_trace(two, trace)), "act").passed
    trace["0.out.best"][0, 0] += 1
    assert not figure_of(parity(with_trace(two, trace)), "act", "unequal").passed


# --- programs that generate ------------------------------------------------------------------------------------------

SAID, STOP = 5, 0


def speaking(release):
    """Four tokens are read, five are said, and each is a row of the action: [token, -token]."""
    actor = component("actor", [spec("tokens", 1, SAID, dtype=DType.INT64)], [spec("chunk", 1, SAID, 2)])
    rows = np.stack([np.arange(VOCABULARY), -np.arange(VOCABULARY)], axis=1).astype(np.float32)
    actor_graph = graph_of(actor, [("Gather", ["rows", "tokens"], ["chunk"])], {"rows": rows})
    parts = (actor, language_component())
    for part, graph in zip(parts, (actor_graph, language_graph()), strict=True):
        release.path(part.folder).mkdir(parents=True)
        release.artifact(part).write_bytes(graph.SerializeToString())
    policy = Policy(
        type="speaking",
        observations=(Feature("ids", FeatureKind.STATE, DType.INT64, (4,)),),
        action=Feature("action", FeatureKind.ACTION, DType.FLOAT32, (2,)),
        chunk_size=SAID,
        n_action_steps=1,
    )
    program = Program(
        tensors=(spec("tokens", SAID, dtype=DType.INT64), spec("chunk", SAID, 2), spec("action", SAID, 2)),
        steps=(
            Generate("say", "language", "ids", "tokens", STOP),
            Call("act", "actor", {"tokens": "tokens"}, {"chunk": "chunk"}),
            Unnormalise("post", "chunk", "action", "same"),
        ),
        action="action",
        arrays="arrays.npz",
    )
    ids = np.random.default_rng(4).integers(1, VOCABULARY, (3, 4))
    said = np.array([language_text(list(one), SAID, STOP) for one in ids])
    np.savez(release.path("golden.npz"), **{"in.ids": ids, "out.action": rows[said]})
    arrays = {"same.offset": np.zeros(2, np.float32), "same.scale": np.ones(2, np.float32)}
    entries = tuple(FileEntry(f"{part.folder}/{part.entry}", 1, Digest("0" * 64)) for part in parts)
    files = (*release.manifest.files, *entries)
    changed = replace(release, arrays=arrays)
    return with_manifest(changed, policy=policy, program=program, components=parts, files=files)


def test_what_is_generated_is_no_processing_and_nothing_stands_in_for_it(release):
    report = parity(traced(speaking(release)))
    assert report.failures == ()
    assert "act" in subjects(report)
    assert "processing" not in subjects(report)


# --- traces that do not fit ------------------------------------------------------------------------------------------


def test_a_trace_that_lacks_a_call_leaves_it_out(flow):
    trace = run_trace(flow, ExecutorMaker(flow), ignore)[1]
    del trace["2.out.cache"], trace["6.out.velocity"]
    report = parity(with_trace(flow, trace))
    assert report.failures == ()
    assert not {"prefix", "step 4/4", "processing"} & set(subjects(report))


def bent(trace, key, change):
    return trace | {key: change(trace[key])}


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("2.out.cache", lambda rows: rows[:5]),
        ("2.out.cache", lambda rows: rows.astype(np.complex64)),
        ("2.out.cache", lambda rows: np.array(1.0)),
        ("contrast.another top", lambda rows: rows[:0]),
        ("contrast.another top", lambda rows: np.concatenate([rows, rows])),
        ("contrast.another top", lambda rows: rows[:, :2]),
        ("contrast.another top", lambda rows: np.full_like(rows, np.nan)),
        ("contrast.another observation", lambda rows: np.full_like(rows, np.inf)),
        ("6.out.velocity", lambda rows: rows[:, :, :2]),
        ("actions", lambda rows: rows[:, :2]),
        ("actions", lambda rows: np.full_like(rows, np.nan)),
    ],
)
def test_a_trace_of_another_shape_is_refused(flow, key, change):
    trace = run_trace(flow, ExecutorMaker(flow), ignore)[1]
    with pytest.raises((BundleError, ShapeError, NonFiniteError)):
        parity(with_trace(flow, bent(trace, key, change)))


def test_the_processing_is_compared_with_what_the_oracle_did_and_not_with_the_reference(flow):
    trace = run_trace(flow, ExecutorMaker(flow), ignore)[1]
    assert "processing" in failing(parity(with_trace(flow, bent(trace, "actions", lambda rows: rows * 1.01))))
    rewritten = flow.path(flow.manifest.golden.path)
    golden = dict(np.load(rewritten))
    golden["out.action"] = golden["out.action"] + 3e-3 * golden["out.action"].std(axis=(0, 1))
    np.savez(rewritten, **golden)
    assert parity(with_trace(flow, trace)).failures == ()


def test_a_trace_of_values_in_another_order_fails_and_breaks_nothing(flow):
    trace = run_trace(flow, ExecutorMaker(flow), ignore)[1]
    turned = bent(trace, "6.out.velocity", lambda rows: rows.transpose(0, 1, 3, 2).astype(np.float64))
    assert {"step 4/4", "processing"} <= failing(parity(with_trace(flow, turned)))


def test_a_trace_that_is_no_archive_is_refused(flow):
    release = traced(flow)
    release.path("trace.npz").write_bytes(b"no archive")
    with pytest.raises(BundleCorruptError, match=r"trace\.npz cannot be read"):
        parity(release)
