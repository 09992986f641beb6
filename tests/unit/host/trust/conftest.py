from __future__ import annotations

import pytest

from edgectl_testkit.fleet_trust import FleetTrust


@pytest.fixture
def fleet(tmp_path):
    return FleetTrust(tmp_path / "home")
