"""The six coefficients against the samplers' own formulas, written as their papers have them."""

from itertools import pairwise

import numpy as np
import pytest

from edgectl_agent.worker.ops.integrate import integrator
from edgectl_protos.domain.errors import ProgramError
from edgectl_protos.domain.program import Integrate, Prediction

SHAPE = (4, 3)
# A product of (1 - beta) over the time steps, as every noise schedule gives one; the last step is the clean sample.
ALPHA_BAR = np.array([0.02, 0.15, 0.4, 0.75, 0.98, 1.0])


def arrays(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, *SHAPE)).astype(np.float32)


def step(predicts, *, clip=0.0, noise=""):
    return Integrate("update", "x", "prediction", "table", predicts, clip, noise)


def run(made, table, sample, predictions, noises=None):
    update = integrator(made, SHAPE, np.asarray(table, np.float64))
    found = sample.copy()
    for index, prediction in enumerate(predictions):
        update(found, prediction, None if noises is None else noises[index], index)
    return found


def test_euler_adds_the_velocity_times_the_time():
    sample, *velocities = arrays(6)
    dt = -0.2
    table = [[1, 0, 0, 1, dt, 0]] * 5
    expected = sample + dt * np.sum(velocities, axis=0)
    np.testing.assert_allclose(run(step(Prediction.VELOCITY), table, sample, velocities), expected, atol=1e-6)


def test_a_velocity_may_also_shrink_the_sample_and_add_noise():
    sample, velocity, noise = arrays(3)
    found = run(step(Prediction.VELOCITY, noise="n"), [[1, 0, 0, 0.5, 2, 0.1]], sample, [velocity], [noise])
    np.testing.assert_allclose(found, 0.5 * sample + 2 * velocity + 0.1 * noise, atol=1e-6)


def clipped_ddim_table():
    """x0 and the direction both from the clipped sample: the noise is (x - a x0) / b."""
    rows = []
    for now, after in pairwise(ALPHA_BAR):
        a, b, direction = np.sqrt(now), np.sqrt(1 - now), np.sqrt(1 - after)
        rows.append([a, b, np.sqrt(after) - direction * a / b, direction / b, 0, 0])
    return rows


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("predicts", [Prediction.NOISE, Prediction.SAMPLE])
def test_ddim_with_the_direction_taken_from_the_clipped_sample(predicts, clip):
    sample, *predictions = arrays(6)
    x = sample.astype(float)
    for prediction, now, after in zip(predictions, ALPHA_BAR[:-1], ALPHA_BAR[1:], strict=True):
        x0 = prediction if predicts is Prediction.SAMPLE else (x - np.sqrt(1 - now) * prediction) / np.sqrt(now)
        x0 = np.clip(x0, -clip, clip) if clip else x0
        eps = (x - np.sqrt(now) * x0) / np.sqrt(1 - now)
        x = np.sqrt(after) * x0 + np.sqrt(1 - after) * eps
    found = run(step(predicts, clip=clip), clipped_ddim_table(), sample, predictions)
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_ddim_with_the_direction_taken_from_the_prediction(clip):
    # As diffusers does unless `use_clipped_model_output` is set: p = √ᾱ', r = √(1 - ᾱ').
    sample, *predictions = arrays(6)
    x = sample.astype(float)
    table = []
    for eps, now, after in zip(predictions, ALPHA_BAR[:-1], ALPHA_BAR[1:], strict=True):
        x0 = (x - np.sqrt(1 - now) * eps) / np.sqrt(now)
        x0 = np.clip(x0, -clip, clip) if clip else x0
        x = np.sqrt(after) * x0 + np.sqrt(1 - after) * eps
        table.append([np.sqrt(now), np.sqrt(1 - now), np.sqrt(after), 0, np.sqrt(1 - after), 0])
    found = run(step(Prediction.NOISE, clip=clip), table, sample, predictions)
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("predicts", [Prediction.NOISE, Prediction.SAMPLE])
def test_ddpm_with_the_posterior_mean_and_its_noise(predicts):
    sample, *rest = arrays(11)
    predictions, noises = rest[:5], rest[5:]
    x = sample.astype(float)
    table = []
    for prediction, noise, now, after in zip(predictions, noises, ALPHA_BAR[:-1], ALPHA_BAR[1:], strict=True):
        alpha = now / after
        beta = 1 - alpha
        x0 = prediction if predicts is Prediction.SAMPLE else (x - np.sqrt(1 - now) * prediction) / np.sqrt(now)
        x0 = np.clip(x0, -1.5, 1.5)
        mean = (np.sqrt(after) * beta * x0 + np.sqrt(alpha) * (1 - after) * x) / (1 - now)
        deviation = np.sqrt((1 - after) / (1 - now) * beta)
        x = mean + deviation * noise
        table.append(
            [
                *(np.sqrt(now), np.sqrt(1 - now), np.sqrt(after) * beta / (1 - now)),
                *(np.sqrt(alpha) * (1 - after) / (1 - now), 0, deviation),
            ]
        )
    # The last pass adds no noise.
    assert table[-1][5] == 0
    found = run(step(predicts, clip=1.5, noise="n"), table, sample, predictions, noises)
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-4)


def test_the_sample_is_changed_in_place_and_nothing_else_is():
    sample, prediction, noise = arrays(3)
    kept = prediction.copy(), noise.copy()
    update = integrator(step(Prediction.NOISE, clip=1, noise="n"), SHAPE, np.full((1, 6), 0.5))
    before = sample.copy()
    update(sample, prediction, noise, 0)
    assert sample.dtype == np.float32
    assert (sample != before).any()
    np.testing.assert_array_equal(prediction, kept[0])
    np.testing.assert_array_equal(noise, kept[1])


@pytest.mark.parametrize(
    "table", [np.ones((3, 5)), np.ones(6), np.ones((1, 3, 6)), np.full((3, 6), np.nan), np.full((3, 6), np.inf)]
)
def test_a_table_of_other_columns_or_of_no_numbers_is_refused(table):
    with pytest.raises(ProgramError, match=r"step 'update': the table 'table' is \[.*not \[passes, 6\]"):
        integrator(step(Prediction.VELOCITY), SHAPE, table)
