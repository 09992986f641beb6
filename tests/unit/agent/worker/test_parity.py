from dataclasses import replace

import numpy as np
import pytest

from edgectl_agent.worker.parity import compare, run_parity
from edgectl_agent.worker.pipeline import Pipeline
from edgectl_agent.worker.release import read_release
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.domain.bundle import Tolerance
from edgectl_protos.domain.errors import BundleError, NonFiniteError, ShapeError
from edgectl_testkit.bundles import CAMERAS, release_dir, tiny_bundle, tiny_golden, tiny_graph

TOLERANCE = Tolerance(1e-3, 0.999)


def parity(release, seen=None):
    runtime = create("reference")
    runtime.load(release.path("full.onnx"), release.component, 1)
    return run_parity(release, Pipeline(release, runtime), (seen if seen is not None else []).append)


def rewritten(release, **arrays):
    np.savez(release.path("golden.npz"), **(tiny_golden() | arrays))
    return release


def test_golden_cases_of_the_same_policy_pass(release):
    seen = []
    (figure,) = parity(release, seen)
    assert (figure.output, figure.cases, figure.passed) == ("action", 3, True)
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


def test_other_outputs_are_compared_by_the_name_of_the_tensor(release):
    with pytest.raises(BundleError, match=r"out\.features.*no such output"):
        parity(rewritten(release, **{"out.features": np.zeros((3, 2), np.float32)}))


def test_golden_cases_that_lack_a_feature_are_refused(release):
    arrays = {key: value for key, value in tiny_golden().items() if key != f"in.{CAMERAS[1]}"}
    np.savez(release.path("golden.npz"), **arrays)
    with pytest.raises(BundleError, match=f"no in.{CAMERAS[1]}"):
        parity(release)


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


def test_a_nan_of_another_output_is_refused():
    with pytest.raises(NonFiniteError, match="1 of 2 values of x"):
        compare("x", np.array([1.0, np.nan]), np.zeros(2), TOLERANCE)
