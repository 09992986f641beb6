"""What a run says of itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_protos.domain.interference import Disturbance, Interference
from edgectl_protos.domain.run import Percentiles
from edgectl_testkit.runs import run_summary


@pytest.mark.parametrize(
    ("supported", "tail"),
    [
        ({}, None),
        ({"p50": 0.01}, ("p50", 0.01)),
        ({"p50": 0.01, "p90": 0.02, "p95": 0.03}, ("p95", 0.03)),
        ({"p50": 0.0, "p99": 0.0, "p999": 0.0}, ("p999", 0.0)),
    ],
)
def test_the_tail_is_the_highest_percentile_that_has_its_samples(supported, tail):
    assert Percentiles(5000, min=0.0, max=0.1, **supported).tail == tail


def test_a_run_is_disturbed_by_its_machine_and_by_a_simulator():
    summary = run_summary()
    assert summary.disturbances == ()
    simulated = replace(summary, components=(replace(summary.components[0], simulated=True),))
    assert simulated.disturbances == (Disturbance.SIMULATED,)
    both = replace(simulated, interference=Interference(suspended_s=1.0))
    assert both.disturbances == (Disturbance.SUSPENDED, Disturbance.SIMULATED)
