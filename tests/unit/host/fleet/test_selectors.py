"""Which devices a command is for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_host.fleet.inventory import Device, Inventory
from edgectl_host.fleet.selectors import Selector, parse_selector, select
from edgectl_protos.domain.errors import FleetError, UsageError

DEVICES = {
    name: Device(name, (f"unix:/{name}",), labels=labels)
    for name, labels in {
        "a": {"site": "lab", "arm": "left"},
        "b": {"site": "lab", "arm": "right"},
        "c": {"site": "hall"},
    }.items()
}
INVENTORY = Inventory(DEVICES, {"all-three": ("c", "a", "b")})


def chosen(*labels: str, limit: int | None = None) -> list[str]:
    selectors = [parse_selector(text) for text in labels]
    return [device.name for device in select(INVENTORY, "all-three", selectors, limit)]


def test_without_conditions_the_whole_fleet_is_meant_in_its_order():
    assert chosen() == ["c", "a", "b"]


def test_conditions_are_joined_by_and():
    assert chosen("site=lab") == ["a", "b"]
    assert chosen("site=lab", "arm=right") == ["b"]


def test_not_equal_takes_devices_without_the_label_too():
    assert chosen("arm!=left") == ["c", "b"]


def test_a_bare_key_takes_every_device_with_that_label():
    assert chosen("arm") == ["a", "b"]


def test_limit_takes_the_first_ones():
    assert chosen("site=lab", limit=1) == ["a"]


def test_choosing_nobody_is_an_error_that_shows_the_labels():
    with pytest.raises(FleetError, match=r"has site=moon; its labels: arm=left, arm=right, site=hall, site=lab"):
        chosen("site=moon")


@pytest.mark.parametrize("text", ["", " ", "=lab", "site=", "!=lab", "site!"])
def test_what_is_no_condition_is_refused(text):
    with pytest.raises(UsageError, match="none of key=value, key!=value and key"):
        parse_selector(text)


words = st.from_regex(r"[a-z][a-z0-9.-]{0,8}", fullmatch=True)


@given(words, words, st.booleans())
def test_a_condition_reads_back_as_it_is_written(key, value, equal):
    selector = Selector(key, value, equal)
    assert parse_selector(str(selector)) == selector
