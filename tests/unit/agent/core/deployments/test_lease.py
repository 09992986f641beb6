"""How long a host may be silent."""

from __future__ import annotations

from edgectl_agent.core.deployments.lease import Lease


def test_a_lease_runs_out_in_silence_and_every_call_renews_it():
    now_s = 100.0
    lease = Lease(30.0, 3600.0, clock=lambda: now_s)
    now_s = 140.0
    assert (lease.silent_s, lease.left_s, lease.deadline_left_s) == (40.0, -10.0, 3560.0)
    lease.renew()
    assert (lease.silent_s, lease.left_s, lease.deadline_left_s) == (0.0, 30.0, 3600.0)
