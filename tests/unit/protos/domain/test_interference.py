"""What a machine did is told from what disturbs a loop."""

from __future__ import annotations

from edgectl_protos.domain.interference import Interference


def test_threads_that_wait_for_each_other_are_no_busy_machine():
    assert Interference(waited_share=0.4, others_cpus=0.01).disturbances == ()


def test_a_kernel_that_tells_nothing_disturbs_nothing():
    assert Interference().disturbances == ()
