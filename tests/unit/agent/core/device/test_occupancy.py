"""Who holds the device."""

from __future__ import annotations

import pytest

from edgectl_agent.core.device.occupancy import Occupancy
from edgectl_protos.domain.errors import BusyError


def test_there_is_a_place_for_one_and_the_second_learns_who_has_it():
    place = Occupancy()
    place.take(lambda: "run r-1 is measuring")
    with pytest.raises(BusyError, match="run r-1 is measuring"):
        place.take(lambda: "another")
    place.give_back()
    place.take(lambda: "another")
