"""Events until they are acknowledged."""

from __future__ import annotations

import logging

import pytest

from edgectl_agent.core.deployments.outbox import Outbox
from edgectl_agent.core.store.atomic import Disk
from edgectl_protos.domain.deployment import DeploymentEvent, Failure, State


def event(sequence: int, deployment_id: str = "d-1") -> DeploymentEvent:
    return DeploymentEvent(sequence, deployment_id, State.FAILED, 1.5, "why", Failure("internal", "m", "h"))


@pytest.fixture
def opened(tmp_path):
    boxes = []

    def make(*, kept: int = 100) -> Outbox:
        box = Outbox(tmp_path / "outbox.jsonl", Disk(), kept=kept)
        box.open()
        boxes.append(box)
        return box

    yield make
    for box in boxes:
        box.close()


def test_events_come_back_after_a_restart_as_they_were(opened):
    opened().append(event(1))
    assert opened().after(0, "d-1") == [event(1)]


def test_only_later_events_of_the_deployment_are_told(opened):
    box = opened()
    for told in (event(1), event(2, "d-2"), event(3)):
        box.append(told)
    assert [e.sequence for e in box.after(1, "d-1")] == [3]


def test_what_was_acknowledged_is_gone_for_good(opened):
    box = opened()
    for number in (1, 2, 3):
        box.append(event(number))
    box.acknowledge("d-1", 2)
    assert [e.sequence for e in box.after(0, "d-1")] == [3]
    assert [e.sequence for e in opened().after(0, "d-1")] == [3]


def test_events_of_other_deployments_stay(opened):
    box = opened()
    for told in (event(1), event(2, "d-2"), event(3)):
        box.append(told)
    box.acknowledge("d-1", 3)
    assert box.after(0, "d-1") == opened().after(0, "d-1") == []
    assert [e.sequence for e in opened().after(0, "d-2")] == [2]


def test_sequence_numbers_go_on_after_everything_was_acknowledged_and_two_restarts(opened):
    box = opened()
    box.append(event(1))
    box.append(event(2))
    box.acknowledge("d-1", 2)
    opened()
    assert opened().next_sequence == 3


def test_acknowledging_the_future_forgets_no_future_event(opened):
    box = opened()
    box.append(event(1))
    box.acknowledge("d-1", 1000)
    box.append(event(2))
    assert [e.sequence for e in opened().after(0, "d-1")] == [2]


def test_the_oldest_events_go_when_nobody_fetches_them(opened, caplog):
    box = opened(kept=3)
    with caplog.at_level(logging.WARNING):
        for number in range(1, 8):
            box.append(event(number))
    assert [e.sequence for e in box.after(0, "d-1")][-3:] == [5, 6, 7]
    assert len(box.after(0, "d-1")) <= 6
    assert "dropped" in caplog.text
    assert opened(kept=3).next_sequence == 8


def test_a_last_line_that_a_power_cut_tore_is_dropped_and_the_next_event_is_whole(opened, tmp_path):
    opened().append(event(1))
    path = tmp_path / "outbox.jsonl"
    for cut in range(1, 20):
        torn = Outbox(path, Disk(), kept=100)
        torn.open()
        torn.append(event(2))
        torn.close()
        path.write_bytes(path.read_bytes()[:-cut])
        again = opened()
        assert again.next_sequence == 2
        assert [e.sequence for e in again.after(0, "d-1")] == [1]


def test_a_line_that_a_full_disk_cut_short_does_not_swallow_the_next_one(opened, tmp_path):
    box = opened()
    box.append(event(1))
    with (tmp_path / "outbox.jsonl").open("ab") as file:
        file.write(b'\n{"sequence": 2, "depl')
    box.append(event(3))
    assert [e.sequence for e in opened().after(0, "d-1")] == [1, 3]


@pytest.mark.parametrize("line", [b"{}", b"[]", b"null", b'{"acknowledged": "x"}', b"\xff\xfe", b"7"])
def test_a_line_of_something_else_is_reported_and_skipped(opened, tmp_path, caplog, line):
    opened().append(event(1))
    with (tmp_path / "outbox.jsonl").open("ab") as file:
        file.write(b"\n" + line)
    with caplog.at_level(logging.WARNING):
        assert [e.sequence for e in opened().after(0, "d-1")] == [1]
    assert "damaged" in caplog.text
