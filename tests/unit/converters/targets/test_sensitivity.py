from __future__ import annotations

import numpy as np
import pytest

from edgectl_converters.targets.sensitivity import (
    KEEP_VARIANTS,
    TRIALS,
    damage,
    held_out,
    is_keep,
    kept,
    kept_settings,
    rank_layers,
)

EXACT = [{"y": np.random.default_rng(call).normal(0, 1, (1, 5, 3))} for call in range(4)]


def off_by(error):
    return [{"y": call["y"] + error} for call in EXACT]


def test_layers_are_ranked_by_what_each_alone_does_to_the_outputs():
    error = {"a": 0.01, "b": 0.3, "c": 0.0, "d": 0.1}
    tried = []

    def outputs_with(layers):
        tried.append(tuple(layers))
        return off_by(sum(error[name] for name in layers))

    assert rank_layers(tuple(error), EXACT, outputs_with, lambda text: None) == ("b", "d", "a", "c")
    assert tried == [("a",), ("b",), ("c",), ("d",)]


def test_layers_that_the_runtime_does_not_run_rounded_are_kept_first():
    outputs = {"a": off_by(0.1), "b": None, "c": off_by(0.2)}
    assert rank_layers(("a", "b", "c"), EXACT, lambda layers: outputs[layers[0]], lambda text: None) == ("b", "c", "a")


def test_layers_that_lose_the_same_stay_in_their_order():
    assert rank_layers(("a", "b", "c"), EXACT, lambda layers: off_by(0.1), lambda text: None) == ("a", "b", "c")


def test_a_component_of_many_layers_is_ranked_in_bounded_trials_by_neighbours():
    layers = tuple(f"layer{index}" for index in range(5 * TRIALS - 1))
    tried = []

    def outputs_with(block):
        tried.append(block)
        return off_by(0.5 if "layer123" in block else 0.0)

    ranking = rank_layers(layers, EXACT, outputs_with, lambda text: None)
    assert len(tried) <= TRIALS
    assert sorted(ranking) == sorted(layers)
    assert "layer123" in ranking[:5]


def test_each_feature_counts_by_its_own_deviation():
    exact = [{"y": np.array([[1000.0 * call, 0.001 * call]])} for call in range(8)]
    wide = [{"y": call["y"] + [[1.0, 0.0]]} for call in exact]
    narrow = [{"y": call["y"] + [[0.0, 0.001]]} for call in exact]
    # The narrow feature is floored by a thousandth of the whole output's deviation, and not lost.
    assert damage(wide, exact) < 1e-6
    scaled = [{"y": call["y"] / [[1000.0, 0.001]]} for call in exact]
    assert damage([{"y": call["y"] / [[1000.0, 0.001]]} for call in narrow], scaled) == pytest.approx(
        0.5 / np.arange(8).var()
    )


def test_outputs_that_are_not_floating_or_never_vary_are_left_out():
    exact = [{"flag": np.array([True]), "constant": np.zeros((1, 2)), **call} for call in EXACT]
    found = [{"flag": np.array([False]), "constant": np.ones((1, 2)), **call} for call in off_by(0.5)]
    assert damage(found, exact) == pytest.approx(damage(off_by(0.5), EXACT))
    assert damage([{"flag": np.array([True])}], [{"flag": np.array([False])}]) == 0.0


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 32, 64])
def test_calls_to_measure_with_are_few_and_apart_from_those_to_calibrate_with(count):
    rest, held = held_out(list(range(count)))
    assert 1 <= len(held) <= 6
    assert (rest, held) == ([0], [0]) if count == 1 else not set(rest) & set(held)
    assert sorted({*rest, *held}) == list(range(count))


def test_each_variant_keeps_more_of_the_most_sensitive_layers():
    ranking = tuple(f"layer{index}" for index in range(33))
    sizes = [len(kept(variant, ranking)) for variant in KEEP_VARIANTS]
    assert sizes == sorted(set(sizes))
    assert sizes[0] >= 1
    assert sizes[-1] < len(ranking) / 2
    assert kept(KEEP_VARIANTS[-1], ("only",)) == ()
    assert all(ranking[: len(found)] == found for found in (kept(variant, ranking) for variant in KEEP_VARIANTS))
    assert kept("default", ranking) == ()
    assert not is_keep("default")


def test_what_is_kept_is_said():
    assert kept_settings(("a", "b"), ("a", "b", "c")) == {"kept_in_fp32": "2 of 3 layers: a, b"}
    assert kept_settings((), ("a",)) == {}
