from dataclasses import replace

import numpy as np
import pytest

from edgectl_agent.worker.parity import compare, run_parity
from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.release import read_release
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.bundle import Tolerance
from edgectl_protos.domain.errors import BundleError, NonFiniteError, ShapeError
from edgectl_protos.domain.policy import Feature, FeatureKind, Noise, Policy, Program, Unnormalise
from edgectl_testkit.bundles import CAMERAS, STATE, STATE_DIM, release_dir, tiny_bundle, tiny_golden, tiny_graph

TOLERANCE = Tolerance(1e-3, 0.999)


def parity(release, seen=None):
    manifest = release.manifest
    graphs = {
        component.name: create("reference").load(release.artifact(component), component, 1)
        for component in manifest.components
    }
    executor = Executor(manifest.policy, manifest.program, release.arrays, graphs, path_of=release.path)
    return run_parity(release, executor, (seen if seen is not None else []).append)


def rewritten(release, **arrays):
    np.savez(release.path("golden.npz"), **(tiny_golden() | arrays))
    return release


def with_golden(release, count, **arrays):
    np.savez(release.path("golden.npz"), **arrays)
    return with_manifest(release, golden=replace(release.manifest.golden, count=count))


def with_manifest(release, **changes):
    return replace(release, manifest=replace(release.manifest, **changes))


def test_golden_cases_of_the_same_policy_pass(release):
    seen = []
    (figure,) = parity(release, seen)
    assert (figure.tensor, figure.cases, figure.passed) == ("action", 3, True)
    assert figure.max_abs < 1e-5
    assert seen == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0]


def test_actions_that_are_off_by_a_tenth_fail_with_the_figure(tmp_path):
    bundle, _ = tiny_bundle(tmp_path / "b", golden_shift=0.1)
    (figure,) = parity(read_release(release_dir(bundle, tmp_path / "r")))
    assert not figure.passed
    assert figure.max_abs == pytest.approx(0.1, abs=1e-5)


def test_a_graph_with_other_weights_fails(tmp_path):
    bundle, _ = tiny_bundle(tmp_path / "b", graph=tiny_graph(add=0.05))
    (figure,) = parity(read_release(release_dir(bundle, tmp_path / "r")))
    assert not figure.passed
    assert figure.max_abs == pytest.approx(0.1, abs=1e-5)


def test_a_release_without_golden_cases_has_no_figures(release):
    assert parity(replace(release, manifest=replace(release.manifest, golden=None))) == ()


def test_other_tensors_are_compared_by_their_names(release):
    states = (tiny_golden()[f"in.{STATE}"] - 1) / 2
    figures = {figure.tensor: figure for figure in parity(rewritten(release, **{"out.state": states}))}
    assert sorted(figures) == ["action", "state"]
    assert figures["state"].max_abs < 1e-6
    assert not next(f for f in parity(rewritten(release, **{"out.state": states + 1})) if f.tensor == "state").passed


def test_a_tensor_that_the_program_does_not_have_is_refused(release):
    with pytest.raises(BundleError, match=r"out\.features.*no such tensor"):
        parity(rewritten(release, **{"out.features": np.zeros((3, 2), np.float32)}))


@pytest.mark.parametrize("lacking", [f"in.{CAMERAS[1]}", "out.action"])
def test_golden_cases_that_lack_a_tensor_are_refused(release, lacking):
    arrays = {key: value for key, value in tiny_golden().items() if key != lacking}
    with pytest.raises(BundleError, match=f"no {lacking}; it has: in.observation"):
        parity(with_golden(release, 3, **arrays))


def test_no_golden_cases_prove_nothing_and_are_refused(release):
    with pytest.raises(BundleError, match="holds no cases"):
        parity(with_golden(release, 0, **{key: value[:0] for key, value in tiny_golden().items()}))


def test_golden_cases_that_are_no_numbers_are_refused(release):
    with pytest.raises(BundleError, match=r"out\.action holds str\d+, no numbers"):
        parity(rewritten(release, **{"out.action": np.array(["a", "b", "c"])}))


def test_golden_cases_of_another_number_are_refused(release):
    with pytest.raises(BundleError, match=r"out\.action has not the 3 cases"):
        parity(rewritten(release, **{"out.action": tiny_golden()["out.action"][:2]}))


def test_a_golden_frame_of_another_shape_is_refused(release):
    with pytest.raises(ShapeError, match=CAMERAS[0]):
        parity(rewritten(release, **{f"in.{CAMERAS[0]}": np.zeros((3, 4, 4, 3), np.uint8)}))


def test_golden_actions_of_another_shape_are_refused(release):
    with pytest.raises(ShapeError, match="action"):
        parity(rewritten(release, **{"out.action": np.zeros((3, 9, 2), np.float32)}))


def test_a_nan_in_an_action_is_an_error_and_not_a_figure(release):
    state = tiny_golden()["in.observation.state"].copy()
    state[1, 0] = np.nan
    with pytest.raises(NonFiniteError):
        parity(rewritten(release, **{"in.observation.state": state}))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_golden_value_that_is_not_finite_is_an_error_and_no_pass(release, value):
    actions = tiny_golden()["out.action"].copy()
    actions[0, 0, 0] = value
    with pytest.raises(NonFiniteError, match="1 of 24 values of action are not finite in the golden cases"):
        parity(rewritten(release, **{"out.action": actions}))


# --- programs that remember ------------------------------------------------------------------------------------------


def remembering(release):
    """What the state was the time before is the action now: the program keeps it as a state, from a reset on."""
    state = TensorSpec("kept", DType.FLOAT32, (1, STATE_DIM))
    policy = Policy(
        type="remembering",
        observations=(Feature(STATE, FeatureKind.STATE, DType.FLOAT32, (STATE_DIM,)),),
        action=Feature("action", FeatureKind.ACTION, DType.FLOAT32, (STATE_DIM,)),
        chunk_size=1,
        n_action_steps=1,
    )
    program = Program(
        tensors=(state, TensorSpec("action", DType.FLOAT32, (1, STATE_DIM))),
        steps=(Unnormalise("out", "kept", "action", "same"), Unnormalise("keep", STATE, "kept", "same")),
        action="action",
        states=("kept",),
        arrays="arrays.npz",
    )
    arrays = {"same.offset": np.zeros(STATE_DIM, np.float32), "same.scale": np.ones(STATE_DIM, np.float32)}
    manifest = replace(release.manifest, policy=policy, program=program, components=())
    return replace(release, manifest=manifest, arrays=arrays)


def test_cases_of_a_program_with_states_are_one_sequence_from_a_reset(release):
    states = np.arange(9, dtype=np.float32).reshape(3, 3)
    before = np.concatenate([np.zeros((1, 3), np.float32), states[:-1]])[:, None]
    changed = with_golden(remembering(release), 3, **{f"in.{STATE}": states, "out.action": before})
    (figure,) = parity(changed)
    assert figure.max_abs == 0
    # The same states in another order are another sequence.
    assert parity(with_golden(changed, 3, **{f"in.{STATE}": states[::-1], "out.action": before}))[0].max_abs > 0


def test_cases_of_a_program_without_states_may_come_in_any_order(release):
    turned = {key: value[::-1] for key, value in tiny_golden().items()}
    assert parity(rewritten(release, **turned))[0].passed


# --- programs that draw ----------------------------------------------------------------------------------------------


def drawing(release):
    """The noise itself, doubled, is the action."""
    manifest = remembering(release).manifest
    program = replace(
        manifest.program,
        steps=(Noise("draw", "kept"), Unnormalise("out", "kept", "action", "double")),
        states=(),
    )
    arrays = {"double.offset": np.zeros(STATE_DIM, np.float32), "double.scale": np.full(STATE_DIM, 2, np.float32)}
    return replace(release, manifest=replace(manifest, program=program), arrays=arrays)


def test_the_noise_of_a_golden_case_is_what_the_program_draws_in_it(release):
    states = np.zeros((3, STATE_DIM), np.float32)
    noise = np.random.default_rng(1).standard_normal((3, 1, STATE_DIM)).astype(np.float32)
    golden = {f"in.{STATE}": states, "in.kept": noise, "out.action": 2 * noise}
    (figure,) = parity(with_golden(drawing(release), 3, **golden))
    assert figure.max_abs == 0


def test_golden_cases_without_the_noise_of_their_reference_prove_nothing_and_are_refused(release):
    golden = {f"in.{STATE}": np.zeros((3, STATE_DIM), np.float32), "out.action": np.zeros((3, 1, 3), np.float32)}
    with pytest.raises(BundleError, match="has no in.kept"):
        parity(with_golden(drawing(release), 3, **golden))


# --- the figures -----------------------------------------------------------------------------------------------------


def test_the_error_is_relative_to_the_range_over_all_cases():
    expected = np.array([[0.0, 10.0], [-10.0, 5.0]])
    figure = compare("x", expected + 0.02, expected, TOLERANCE)
    assert figure.max_abs == pytest.approx(0.02)
    assert figure.max_abs_of_range == pytest.approx(0.001)


def test_a_constant_output_is_judged_by_its_own_size():
    expected = np.full((2, 3), 4.0)
    assert compare("x", expected + 0.04, expected, TOLERANCE).max_abs_of_range == pytest.approx(0.01)
    assert compare("x", np.zeros(2), np.zeros(2), TOLERANCE).passed
    assert not compare("x", np.ones(2), np.zeros(2), TOLERANCE).passed


def test_a_small_error_in_the_wrong_direction_fails_by_its_cosine():
    expected = np.array([[100.0, 0.0, 0.0, 0.01]])
    turned = np.array([[100.0, 5.0, 0.0, 0.01]])
    figure = compare("x", turned, expected, Tolerance(0.1, 0.9999))
    assert figure.max_abs_of_range <= 0.1
    assert not figure.passed


def test_a_nan_of_any_tensor_is_refused():
    with pytest.raises(NonFiniteError, match="1 of 2 values of x"):
        compare("x", np.array([1.0, np.nan]), np.zeros(2), TOLERANCE)


def test_a_leading_one_more_is_the_same_shape_and_any_other_is_not():
    assert compare("x", np.ones((2, 3)), np.ones((2, 1, 3)), TOLERANCE).passed
    with pytest.raises(ShapeError, match=r"x is \[2, 3\] here, \[3, 2\] in the golden cases"):
        compare("x", np.ones((2, 3)), np.ones((3, 2)), TOLERANCE)
