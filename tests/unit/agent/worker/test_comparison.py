"""What is right passes, and what a robot would do wrong is refused, at the tolerances that releases have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgectl_agent.worker.comparison import (
    ANOTHER_OBSERVATION,
    Expected,
    compare_actions,
    compare_tensor,
    dimensions_of,
)
from edgectl_converters.targets.registry import target
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import NonFiniteError, ShapeError
from edgectl_protos.domain.parity import Tolerance
from edgectl_protos.domain.policy import Dimension, Feature, FeatureKind, Policy

FP32, INT8 = (target("onnxrt").tolerance(scheme) for scheme in ("fp32", "int8"))
BOTH = pytest.mark.parametrize("tolerance", [FP32, INT8], ids=["fp32", "int8"])
NAMES = ("pan", "lift", "elbow", "flex", "roll", "gripper")
DIM = len(NAMES)
GRIPPER = NAMES.index("gripper")
SWAPPED = "top and wrist exchanged"


def moves(*, cases=8, chunk=20, speed=0.05, seed=0):
    """Slow movements: five joints in degrees, tens of them away from zero, and a gripper in metres."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (cases, 1, DIM)) + speed * np.arange(chunk)[:, None]
    return (np.sin(phase) * [40, 30, 20, 25, 60, 0.03] + [10, -60, 30, 45, 0, 0.04]).astype(np.float32)


def expected(actions, *, use=8, drawn=False, dimensions=None, **contrasts):
    named = dimensions or tuple(Dimension(NAMES[index]) for index in range(actions.shape[2]))
    words = {name.replace("_", " "): other for name, other in contrasts.items()}
    return Expected(actions, words, named, use, drawn)


def failures(found, wanted, tolerance):
    figures, _ = compare_actions(found, wanted, tolerance)
    return [figure for figure in figures if not figure.passed]


def figure_of(found, wanted, subject, statistic="rmse", tolerance=FP32):
    figures, _ = compare_actions(found, wanted, tolerance)
    (one,) = [figure for figure in figures if (figure.subject, figure.statistic) == (subject, statistic)]
    return one


def noise(actions, part, *, seed=5):
    """As integer arithmetic makes it: independent errors, of this part of each dimension's deviation."""
    drawn = np.random.default_rng(seed).standard_normal(actions.shape)
    return (part * actions.std(axis=(0, 1)) * drawn).astype(np.float32)


def changed(actions, index, change):
    found = actions.copy()
    found[..., index] = change(found[..., index])
    return found


# --- the scale of a dimension ----------------------------------------------------------------------------------------


@BOTH
def test_the_same_actions_pass_with_no_error_at_all(tolerance):
    actions = moves()
    figures, dimensions = compare_actions(actions.copy(), expected(actions), tolerance)
    assert figures
    assert all(figure.value == 0 and figure.passed for figure in figures)
    assert [one.name for one in dimensions] == list(NAMES)
    assert all((one.rmse, one.worst) == (0, 0) and one.correlation == pytest.approx(1) for one in dimensions)


def test_an_error_is_told_in_the_robots_units_and_judged_by_the_deviation_of_its_own_dimension():
    actions = moves().astype(np.float64)
    found = changed(actions, GRIPPER, lambda metres: metres + 0.003)
    _, dimensions = compare_actions(found, expected(actions), INT8)
    gripper = dimensions[GRIPPER]
    assert (gripper.rmse, gripper.worst) == (pytest.approx(0.003), pytest.approx(0.003))
    assert gripper.scale == gripper.deviation == pytest.approx(float(actions[..., GRIPPER].std()))
    figure = figure_of(found, expected(actions), "executed", tolerance=INT8)
    assert (figure.at, figure.value) == ("gripper", pytest.approx(0.003 / gripper.deviation))
    assert figure.limit == pytest.approx(INT8.rmse, rel=1e-3)


@BOTH
def test_an_inverted_gripper_in_metres_among_joints_in_degrees_is_refused_by_its_name(tolerance):
    actions = moves()
    found = changed(actions, GRIPPER, lambda metres: 0.08 - metres)
    # Of the pooled range of all dimensions it is nothing.
    assert np.abs(found - actions).max() / np.ptp(actions) < 1e-3
    assert {figure.at for figure in failures(found, expected(actions), tolerance)} >= {"gripper"}


@pytest.mark.parametrize("index", range(DIM), ids=NAMES)
@pytest.mark.parametrize(("tolerance", "factor"), [(FP32, 1.02), (INT8, 1.15)], ids=["fp32", "int8"])
def test_one_dimension_that_is_scaled_is_refused(tolerance, factor, index):
    actions = moves()
    found = changed(actions, index, lambda values: values * factor)
    assert {NAMES[index]} == {figure.at for figure in failures(found, expected(actions), tolerance) if figure.at}


@pytest.mark.parametrize("index", range(DIM), ids=NAMES)
@pytest.mark.parametrize(("tolerance", "factor"), [(FP32, 1.02), (INT8, 1.15)], ids=["fp32", "int8"])
def test_one_dimension_that_is_scaled_about_its_middle_is_refused_too(tolerance, factor, index):
    actions = moves()
    found = changed(actions, index, lambda values: values.mean() + (values - values.mean()) * factor)
    assert {NAMES[index]} == {figure.at for figure in failures(found, expected(actions), tolerance) if figure.at}


@BOTH
@pytest.mark.parametrize("index", range(DIM), ids=NAMES)
def test_a_flipped_sign_is_refused(tolerance, index):
    actions = moves()
    assert failures(changed(actions, index, np.negative), expected(actions), tolerance)


def test_one_large_error_among_many_small_ones_is_refused_as_the_worst():
    actions = moves()
    found = actions.copy()
    found[3, 2, 1] += 0.6 * actions[..., 1].std()
    (figure,) = failures(found, expected(actions), INT8)
    assert (figure.subject, figure.statistic, figure.at) == ("executed", "worst", "lift")


def test_executed_actions_are_judged_apart_from_the_rest_of_the_chunk():
    actions = moves()
    found = actions.copy()
    found[:, 8:] += noise(actions, 0.3)[:, 8:]
    assert {figure.subject for figure in failures(found, expected(actions), INT8)} == {"rest of the chunk"}
    _, dimensions = compare_actions(found, expected(actions), INT8)
    assert all(one.rmse == 0 for one in dimensions)
    figures, _ = compare_actions(actions, expected(actions, use=20), INT8)
    assert "rest of the chunk" not in {figure.subject for figure in figures}


# --- dimensions that do not move -------------------------------------------------------------------------------------


def test_a_dimension_that_never_moves_is_judged_by_its_size():
    actions = changed(moves(), 3, lambda values: np.full_like(values, -40))
    found = changed(actions, 3, lambda values: values + 0.4)
    _, dimensions = compare_actions(found, expected(actions), FP32)
    assert (dimensions[3].scale, dimensions[3].deviation, dimensions[3].correlation) == (40, 0, None)
    figure = figure_of(found, expected(actions), "executed")
    assert (figure.at, figure.value) == ("flex", pytest.approx(0.01, rel=1e-4))
    assert failures(found, expected(actions), FP32)
    assert not failures(found, expected(actions), INT8)


def test_a_dimension_that_is_always_zero_is_judged_as_it_is():
    actions = changed(moves(), 3, np.zeros_like)
    assert not failures(changed(actions, 3, lambda values: values + 1e-3), expected(actions), FP32)
    assert failures(changed(actions, 3, lambda values: values + 1e-2), expected(actions), FP32)


def still(value=0.1):
    """A constant as float32 arithmetic leaves it: of two values, one bit apart."""
    near = np.array([value, np.nextafter(np.float32(value), np.float32(1))], np.float32)
    return changed(moves(), 3, lambda values: near[np.arange(values.size) % 2].reshape(values.shape))


@BOTH
def test_the_last_bit_of_a_constant_is_no_class(tolerance):
    actions = still()
    found = changed(actions, 3, lambda values: np.flip(values, axis=1))
    assert np.any(found != actions)
    assert not failures(found, expected(actions), tolerance)
    _, dimensions = compare_actions(found, expected(actions), tolerance)
    assert dimensions[3].unequal is None


def test_the_last_bit_of_a_constant_does_not_hide_exchanged_cameras():
    actions = still()
    other = moved(actions)
    found = changed(other, 3, lambda values: values + 1e-6)
    assert [figure.subject for figure in failures(found, expected(actions, swapped=other), INT8)] == [
        "taken for swapped"
    ]


@BOTH
def test_of_outputs_of_vanishing_range_what_float32_cannot_tell_apart_passes(tolerance):
    actions = (moves() * 1e-10).astype(np.float32)
    assert np.ptp(actions) < 2e-8
    assert not failures(actions + noise(actions, 2.0), expected(actions), tolerance)
    assert failures(actions + np.float32(5e-7), expected(actions), tolerance)


def test_values_too_small_to_divide_by_leave_every_figure_a_number():
    actions = moves().astype(np.float64) * 1e-310
    figures, dimensions = compare_actions(actions + 1, expected(actions), FP32)
    assert not all(figure.passed for figure in figures)
    numbers = [figure.value for figure in figures] + [figure.limit for figure in figures]
    numbers += [value for one in dimensions for value in (one.rmse, one.worst, one.scale)]
    assert np.isfinite(numbers).all()


# --- classes ---------------------------------------------------------------------------------------------------------


def gripping(low=0.0, high=0.08):
    """The gripper is open or shut, and nothing between."""
    return changed(moves(), GRIPPER, lambda metres: np.where(metres > 0.04, high, low).astype(np.float32))


@BOTH
def test_a_dimension_of_two_values_is_judged_by_its_class_and_not_by_its_error(tolerance):
    actions = gripping()
    found = changed(actions, GRIPPER, lambda metres: 0.01 + 0.75 * metres)
    assert not failures(found, expected(actions), tolerance)
    _, dimensions = compare_actions(found, expected(actions), tolerance)
    assert [one.unequal for one in dimensions] == [None] * GRIPPER + [0]


@BOTH
def test_a_gripper_that_opens_instead_of_shutting_is_refused(tolerance):
    actions = gripping()
    found = changed(actions, GRIPPER, lambda metres: 0.08 - metres)
    wrong = failures(found, expected(actions), tolerance)
    assert {(figure.subject, figure.statistic, figure.at, figure.value) for figure in wrong} >= {
        ("executed", "unequal", "gripper", 1.0),
        ("rest of the chunk", "unequal", "gripper", 1.0),
    }


def test_one_wrong_class_of_many_passes_where_integers_compute_and_not_in_floats():
    actions = gripping()
    found = actions.copy()
    found[2, 3, GRIPPER] = 0.08 - found[2, 3, GRIPPER]
    figure = figure_of(found, expected(actions), "executed", "unequal")
    assert (figure.at, figure.value, figure.limit) == ("gripper", 1 / 64, 0)
    assert not figure.passed
    assert figure_of(found, expected(actions), "executed", "unequal", INT8).passed


def test_a_class_is_only_ever_told_of_a_dimension_that_has_classes():
    assert figure_of(gripping(), expected(gripping()), "executed", "unequal").at == "gripper"


def test_a_dimension_that_says_where_its_classes_meet_is_judged_there():
    actions = moves()
    named = tuple(Dimension(name, 0.04 if name == "gripper" else None) for name in NAMES)
    wanted = expected(actions, dimensions=named)
    squashed = changed(actions, GRIPPER, lambda metres: 0.04 + 0.1 * (metres - 0.04))
    assert not failures(squashed, wanted, FP32)
    crossed = changed(actions, GRIPPER, lambda metres: metres + 0.02)
    share = float(np.mean((crossed[:, :8, GRIPPER] >= 0.04) != (actions[:, :8, GRIPPER] >= 0.04)))
    assert share > 0.02
    assert figure_of(crossed, wanted, "executed", "unequal", INT8).value == share
    assert failures(crossed, wanted, INT8)


def test_two_cases_that_stand_still_have_no_classes():
    actions = np.repeat(moves(cases=2, chunk=1), 20, axis=1)
    found = changed(actions, 1, lambda values: values.mean() + 1.15 * (values - values.mean()))
    assert "lift" in {figure.at for figure in failures(found, expected(actions), INT8)}


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_whole_numbers_are_judged_by_the_share_that_differs(dtype):
    actions = (np.arange(100).reshape(5, 4, 5) % 2).astype(dtype)
    found = actions.copy()
    found[0, 0, 0] ^= True
    for tolerance, passed in ((FP32, False), (INT8, True)):
        figures, dimensions = compare_actions(found, expected(actions, use=4), tolerance)
        assert dimensions == ()
        assert [(figure.statistic, figure.value, figure.passed) for figure in figures] == [("unequal", 0.01, passed)]


# --- contrasts -------------------------------------------------------------------------------------------------------


def moved(actions, part=0.05):
    """What the policy does for another observation, not very different: of this part of each deviation."""
    return actions + noise(actions, part, seed=11)


def test_what_another_observation_would_have_done_is_refused_however_little_it_differs():
    actions = moves()
    other = moved(actions)
    wanted = expected(actions, **{SWAPPED: other})
    (figure,) = failures(other, wanted, INT8)
    assert (figure.subject, figure.statistic) == (f"taken for {SWAPPED}", "share")
    assert figure.value == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_noise_of_integers_has_no_share_in_a_contrast(seed):
    actions = moves()
    wanted = expected(actions, **{SWAPPED: moved(actions)})
    found = actions + noise(actions, 0.05, seed=100 + seed)
    assert not failures(found, wanted, INT8)
    assert abs(figure_of(found, wanted, f"taken for {SWAPPED}", "share", INT8).value) < 0.2


def test_the_share_is_how_much_of_the_way_was_gone():
    actions = moves()
    other = moved(actions)
    wanted = expected(actions, **{SWAPPED: other})
    for part in (0.25, 0.75):
        found = actions + np.float32(part) * (other - actions)
        share = figure_of(found, wanted, f"taken for {SWAPPED}", "share", INT8)
        assert (share.value, share.passed) == (pytest.approx(part, abs=1e-3), part < 0.5)


def test_a_contrast_of_the_first_cases_is_compared_with_those():
    actions = moves()
    wanted = expected(actions, **{SWAPPED: moved(actions)[:4]})
    found = actions.copy()
    found[:4] = moved(actions)[:4]
    assert [figure.subject for figure in failures(found, wanted, INT8)] == [f"taken for {SWAPPED}"]
    found = actions.copy()
    found[4:] = moved(actions)[4:]
    assert not failures(found, wanted, INT8)


def test_a_contrast_that_changes_nothing_says_nothing():
    actions = moves()
    figures, _ = compare_actions(actions, expected(actions, **{SWAPPED: actions.copy()}), INT8)
    assert not [figure for figure in figures if figure.subject == f"taken for {SWAPPED}"]


def test_a_contrast_that_drowns_in_the_error_says_nothing_and_the_error_is_refused():
    actions = moves()
    wanted = expected(actions, **{SWAPPED: moved(actions, 0.01)})
    wrong = failures(actions + noise(actions, 0.3), wanted, INT8)
    assert {figure.statistic for figure in wrong} >= {"rmse"}
    assert not [figure for figure in wrong if figure.subject == f"taken for {SWAPPED}"]


def test_a_contrast_is_seen_below_the_error_where_all_cases_go_its_way():
    actions = moves()
    other = moved(actions, 0.02)
    found = other + noise(actions, 0.06)
    (figure,) = failures(found, expected(actions, **{SWAPPED: other}), INT8)
    assert figure.subject == f"taken for {SWAPPED}"
    assert figure.value == pytest.approx(1, abs=0.3)


def test_a_single_case_has_no_share_in_a_contrast():
    actions = moves()[:1]
    figures, _ = compare_actions(actions, expected(actions, **{SWAPPED: moved(actions)}), INT8)
    assert not [figure for figure in figures if figure.statistic == "share"]


@BOTH
@pytest.mark.parametrize(("by", "words"), [(1, "early"), (-1, "late")])
def test_a_chunk_that_is_shifted_by_a_step_is_refused(tolerance, by, words):
    actions = moves()
    steps = np.clip(np.arange(20) + by, 0, 19)
    wrong = {
        (figure.subject, figure.statistic): figure
        for figure in failures(actions[:, steps], expected(actions), tolerance)
    }
    assert wrong[f"a step too {words}", "share"].value == pytest.approx(1, abs=1e-4)
    if tolerance is INT8:
        # So slow a movement that its errors alone would pass.
        assert len(wrong) == 1


@BOTH
@pytest.mark.parametrize("by", [2, 4, -4])
def test_a_chunk_that_is_shifted_by_more_steps_is_refused_too(tolerance, by):
    actions = moves(speed=0.02)
    steps = np.clip(np.arange(20) + by, 0, 19)
    assert "share" in {figure.statistic for figure in failures(actions[:, steps], expected(actions), tolerance)}


def test_a_chunk_of_two_has_no_step_between():
    figures, _ = compare_actions(moves(chunk=2), expected(moves(chunk=2), use=1), FP32)
    assert {figure.statistic for figure in figures} == {"rmse", "worst"}


# --- policies that draw noise ----------------------------------------------------------------------------------------


def drawing():
    """Noise makes most of these actions, what is observed a tenth; and the actions for the observation of another."""
    rng = np.random.default_rng(3)
    drawn = rng.standard_normal((8, 20, DIM))
    seen = rng.standard_normal((8, 1, DIM)) * 0.1
    return drawn + seen, drawn + np.roll(seen, -1, axis=0)


def test_where_noise_makes_most_of_a_chunk_errors_are_judged_by_the_effect_of_the_observation():
    actions, other = drawing()
    found = actions + noise(actions, 0.05)
    contrast = {ANOTHER_OBSERVATION.replace(" ", "_"): other}
    assert not failures(found, expected(actions, **contrast), INT8)
    wrong = failures(found, expected(actions, drawn=True, **contrast), INT8)
    assert {(figure.subject, figure.statistic) for figure in wrong} >= {("executed", "rmse")}
    _, dimensions = compare_actions(found, expected(actions, drawn=True, **contrast), INT8)
    for index, one in enumerate(dimensions):
        effect = np.sqrt(np.mean((other - actions)[..., index] ** 2) / 2)
        assert one.effect == one.scale == pytest.approx(effect)
        assert one.deviation == pytest.approx(actions[..., index].std())


def test_the_effect_is_told_also_where_errors_are_judged_by_the_deviation():
    actions, other = drawing()
    _, dimensions = compare_actions(actions, expected(actions, **{ANOTHER_OBSERVATION.replace(" ", "_"): other}), INT8)
    assert all(one.scale == one.deviation and one.effect < one.deviation / 2 for one in dimensions)
    _, dimensions = compare_actions(actions, expected(actions, drawn=True), INT8)
    assert all(one.scale == one.deviation and one.effect is None for one in dimensions)


def test_what_no_observation_moves_is_judged_by_its_deviation():
    actions, _ = drawing()
    contrast = {ANOTHER_OBSERVATION.replace(" ", "_"): actions.copy()}
    _, dimensions = compare_actions(actions, expected(actions, drawn=True, **contrast), INT8)
    assert all(one.effect == 0 and one.scale == one.deviation for one in dimensions)


# --- what is no number, and other shapes -----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_no_finite_numbers_are_an_error_and_no_figure(value):
    actions = moves().astype(np.float64)
    bad = actions.copy()
    bad[1, 2, 3] = value
    with pytest.raises(NonFiniteError, match="1 of 960 values of the action are not finite here"):
        compare_actions(bad, expected(actions), FP32)
    with pytest.raises(NonFiniteError, match="1 of 960 values of the action are not finite in the golden cases"):
        compare_actions(actions, expected(bad), FP32)


def test_actions_of_another_shape_are_refused():
    actions = moves()
    for found in (actions[:4], actions[:, :10], actions[..., :5], actions.transpose(1, 0, 2)):
        with pytest.raises(ShapeError, match=r"the action is .* here, \[8, 20, 6\] in the golden cases"):
            compare_actions(found, expected(actions), FP32)


def test_an_action_of_several_axes_is_compared_as_one_row():
    actions = moves()
    assert not failures(actions.reshape(8, 20, 2, 3), expected(actions), FP32)


def test_one_case_is_enough_to_refuse_and_to_pass():
    actions = moves(cases=1)
    assert not failures(actions, expected(actions), FP32)
    assert failures(changed(actions, 2, lambda values: values * 1.02), expected(actions), FP32)


def test_one_number_is_judged_by_its_size():
    actions = np.full((1, 1, 1), 5.0, np.float32)
    assert not failures(actions * np.float32(1.001), expected(actions, use=1), FP32)
    assert failures(actions * np.float32(1.02), expected(actions, use=1), FP32)


# --- what always holds -----------------------------------------------------------------------------------------------

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4))
ACTIONS = SHAPES.flatmap(lambda shape: arrays(np.float64, shape, elements=st.floats(-1e6, 1e6)))
NOTHING_ALLOWED = Tolerance(0.0, 0.0, 0.0, 0.0)


@settings(deadline=None)
@given(ACTIONS, st.data())
def test_what_is_expected_passes_whatever_it_is(actions, data):
    other = data.draw(arrays(np.float64, actions.shape, elements=st.floats(-1e6, 1e6)))
    use = data.draw(st.integers(1, actions.shape[1]))
    wanted = expected(actions, use=use, drawn=data.draw(st.booleans()), another_observation=other)
    assert not failures(actions.copy(), wanted, NOTHING_ALLOWED)


@settings(deadline=None)
@given(ACTIONS, st.data())
def test_twice_the_limit_in_any_one_dimension_fails_and_names_it(actions, data):
    use = data.draw(st.integers(1, actions.shape[1]))
    index = data.draw(st.integers(0, actions.shape[2] - 1))
    wanted = expected(actions, use=use)
    _, dimensions = compare_actions(actions, wanted, INT8)
    assume(dimensions[index].unequal is None)
    size = np.abs(actions[..., index]).max()
    limit = INT8.rmse * dimensions[index].scale + 1e-6 * size + 1e-7
    found = actions.copy()
    signs = data.draw(arrays(np.int8, actions[:, :use, index].shape, elements=st.sampled_from([-1, 1])))
    found[:, :use, index] += 2 * limit * signs
    assert figure_of(found, wanted, "executed", tolerance=INT8).at == NAMES[index]
    assert ("executed", "rmse") in {(one.subject, one.statistic) for one in failures(found, wanted, INT8)}


@settings(deadline=None)
@given(ACTIONS, st.data())
def test_half_the_limit_in_every_dimension_is_within_it(actions, data):
    wanted = expected(actions, use=data.draw(st.integers(1, actions.shape[1])))
    _, dimensions = compare_actions(actions, wanted, INT8)
    scale = np.array([0 if one.unequal is not None else one.scale for one in dimensions])
    signs = data.draw(arrays(np.int8, actions.shape, elements=st.sampled_from([-1, 1])))
    wrong = failures(actions + 0.5 * INT8.rmse * scale * signs, wanted, INT8)
    assert {figure.statistic for figure in wrong} <= {"share"}


# --- tensors inside the program --------------------------------------------------------------------------------------


def test_a_tensor_is_judged_by_its_rmse_in_parts_of_its_deviation():
    values = np.array([[0.0, 10.0], [-10.0, 5.0]])
    figure = compare_tensor("call", values + 0.02, values, 5e-3, at="output y")
    assert (figure.subject, figure.statistic, figure.at) == ("call", "rmse", "output y")
    assert figure.value == pytest.approx(0.02 / values.std())
    assert figure.passed
    assert not compare_tensor("call", values + 0.1, values, 5e-3).passed


def test_a_tensor_that_is_constant_is_judged_by_its_size_and_zeros_as_they_are():
    assert compare_tensor("x", np.full(6, 4.04), np.full(6, 4.0), 1.0).value == pytest.approx(0.01)
    assert compare_tensor("x", np.zeros(2), np.zeros(2), 0.0).passed
    assert not compare_tensor("x", np.ones(2), np.zeros(2), 0.5).passed
    assert compare_tensor("x", np.zeros(0), np.zeros(0), 0.0).passed
    assert compare_tensor("x", np.zeros(0, np.int64), np.zeros(0, np.int64), 0.0).passed


def test_what_is_not_finite_is_equal_where_both_have_it():
    mask = np.array([0.0, -np.inf, 1.0, np.inf, np.nan])
    assert compare_tensor("mask", mask, mask.copy(), 0.0).passed
    assert not compare_tensor("mask", mask + np.array([0.5, 0, 0, 0, 0]), mask, 0.1).passed
    for at, wrong in ((1, np.inf), (1, -1.0), (0, np.nan), (4, 0.0)):
        other = mask.copy()
        other[at] = wrong
        with pytest.raises(NonFiniteError):
            compare_tensor("mask", other, mask, 0.0)


def test_what_float32_cannot_tell_apart_in_a_tensor_is_no_error():
    values = np.linspace(1000, 1001, 50, dtype=np.float32)
    assert compare_tensor("x", np.nextafter(values, np.float32(2000)), values, 0.0).passed
    assert not compare_tensor("x", values + np.float32(0.01), values, 0.0).passed


@pytest.mark.parametrize("dtype", [np.int64, np.bool_])
def test_whole_numbers_of_a_tensor_are_judged_by_the_share_that_differs(dtype):
    values = np.zeros(50, dtype)
    found = values.copy()
    found[7] = 1
    figure = compare_tensor("ids", found, values, 9.0)
    assert (figure.statistic, figure.value, figure.passed) == ("unequal", 0.02, False)
    assert compare_tensor("ids", found, values, 0.0, unequal=0.02).passed


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_a_tensor_with_no_finite_number_in_it_is_an_error(value):
    with pytest.raises(NonFiniteError, match="1 of 2 values of output y are not finite here"):
        compare_tensor("x", np.array([1.0, value]), np.zeros(2), 1.0, at="output y")
    with pytest.raises(NonFiniteError, match="1 of 2 values of x are not finite in the golden cases"):
        compare_tensor("x", np.zeros(2), np.array([1.0, value]), 1.0)


def test_a_tensor_with_an_axis_of_one_more_is_the_same_and_any_other_is_not():
    assert compare_tensor("x", np.ones((2, 3)), np.ones((2, 1, 3)), 0.0).passed
    with pytest.raises(ShapeError, match=r"x is \[2, 3\] here, \[3, 3\] in the golden cases"):
        compare_tensor("x", np.ones((2, 3)), np.ones((3, 3)), 0.0)


# --- names -----------------------------------------------------------------------------------------------------------


def test_dimensions_that_nobody_named_are_numbered():
    policy = Policy(
        type="test",
        observations=(Feature("state", FeatureKind.STATE, DType.FLOAT32, (3,)),),
        action=Feature("action", FeatureKind.ACTION, DType.FLOAT32, (2,)),
        chunk_size=4,
        n_action_steps=2,
    )
    assert [one.name for one in dimensions_of(policy, 2)] == ["action[0]", "action[1]"]
    named = (Dimension("shoulder"), Dimension("gripper", 0.5))
    assert dimensions_of(replace(policy, dimensions=named), 2) == named


# --- texts ---------------------------------------------------------------------------------------------------------


def text_figure(found, wanted, unequal=0.0):
    wanted = np.array(wanted, np.int64)[:, None]
    expectation = Expected(wanted, {}, (), 1, drawn=False, text=True)
    (figure,), dimensions = compare_actions(np.array(found, np.int64), expectation, Tolerance(0.1, 0.1, 0.1, unequal))
    assert dimensions == ()
    return figure


def test_a_text_is_judged_by_its_first_wrong_token():
    wanted = [[5, 6, 7, 8], [1, 2, 3, 4]]
    assert text_figure(wanted, wanted).value == 0
    # What follows a wrong token is wrong, whatever it is.
    figure = text_figure([[5, 6, 7, 8], [1, 9, 3, 4]], wanted)
    assert (figure.value, figure.at, figure.passed) == (3 / 8, "case 2 from token 2", False)


def test_tokens_that_the_reference_can_hardly_tell_apart_are_not_judged():
    figure = text_figure([[5, 6, 0, 0], [1, 2, 3, 4]], [[5, 6, -1, -1], [1, 2, 3, 4]])
    assert (figure.value, figure.passed) == (0, True)
    assert text_figure([[5, 0, 0, 0]], [[5, 6, -1, -1]]).value == 1 / 2
    assert text_figure([[5]], [[-1]]).passed


def test_where_all_tokens_may_differ_they_are_shown_and_not_judged():
    figure = text_figure([[9, 9]], [[1, 2]], unequal=1.0)
    assert (figure.value, figure.limit, figure.passed) == (1.0, None, True)
