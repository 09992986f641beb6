"""Expected values were recorded from diffusers 0.35: the first five of ten steps of 100, noise taken as zero.

Its alphas are float32.
"""

from __future__ import annotations

import numpy as np
import pytest

from edgectl_converters.sources.schedules import alphas_of, ddim_rows, ddpm_rows, euler_rows
from edgectl_protos.domain.program import Prediction

TIMES = [90, 80, 70, 60, 50, 40, 30, 20, 10, 0]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("squaredcos_cap_v2", [0.9993687272071838, 0.47826457023620605, 2.4285407107527135e-07]),
        ("linear", [0.9998999834060669, 0.7692912817001343, 0.3635632395744324]),
        ("scaled_linear", [0.9998999834060669, 0.8915450572967529, 0.4845898747444153]),
    ],
)
def test_alphas_are_those_of_diffusers(schedule, expected):
    alphas = alphas_of(schedule, 100, 0.0001, 0.02)
    np.testing.assert_allclose([alphas[at] for at in (0, 50, 99)], expected, rtol=2e-5)


@pytest.mark.parametrize(
    ("method", "predicts", "expected"),
    [
        ("ddim", Prediction.NOISE, [1.5877313801689519, -9.458940418818502]),
        ("ddim", Prediction.SAMPLE, [0.4835385059555654, -0.07992719474950516]),
        ("ddpm", Prediction.NOISE, [0.9013446250640769, -11.518097852589243]),
        ("ddpm", Prediction.SAMPLE, [0.22946688105339227, 0.5236883375878574]),
    ],
)
def test_steps_are_those_of_diffusers(method, predicts, expected):
    alphas = alphas_of("squaredcos_cap_v2", 100, 0, 0)
    rows = ddim_rows(TIMES, alphas, 1.0, predicts) if method == "ddim" else ddpm_rows(TIMES, alphas)
    x, prediction = np.float64([0.5, -1.0]), np.float64([0.25, 0.75])
    for a, b, p, q, r, _ in rows[:5]:
        clean = (x - b * prediction) / a if predicts is Prediction.NOISE else prediction
        x = p * clean + q * x + r * prediction
    np.testing.assert_allclose(x, expected, rtol=1e-5)


def test_ddpm_adds_noise_in_every_pass_but_the_last():
    rows = ddpm_rows(TIMES, alphas_of("linear", 100, 0.0001, 0.02))
    assert [row[5] > 0 for row in rows] == [True] * 9 + [False]


def test_euler_goes_from_time_to_time():
    assert [row[3:5] for row in euler_rows([1.0, 0.75, 0.25], 0.0)] == [(1.0, -0.25), (1.0, -0.5), (1.0, -0.25)]
