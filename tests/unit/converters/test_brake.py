"""The brake of a conversion."""

from __future__ import annotations

import pytest

from edgectl_converters.brake import Brake
from edgectl_protos.domain.errors import CancelledError


def test_pulled_it_ends_what_runs_and_lets_nothing_begin():
    brake, ended = Brake(), []
    with brake.held_by(lambda: ended.append("over")):
        pass
    with brake.held_by(lambda: ended.append("one")), brake.held_by(lambda: ended.append("two")):
        brake.pull()
    assert ended == ["one", "two"]
    with pytest.raises(CancelledError), brake.held_by(lambda: ended.append("late")):
        raise AssertionError
