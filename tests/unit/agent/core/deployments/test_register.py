"""What is known of deployments when the disk fails: a step forward is refused, a way back is not."""

from __future__ import annotations

import errno

import pytest

from edgectl_agent.core.deployments.journal import Journal
from edgectl_agent.core.deployments.lifecycle import Done, Failed
from edgectl_agent.core.deployments.outbox import Outbox
from edgectl_agent.core.deployments.register import Register
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.deployment import Deployment, Failure, State
from edgectl_protos.domain.errors import DeviceError
from edgectl_testkit.faults import FailingDisk

FAILED = Failed(Failure("device_failed", "the disk failed"))


@pytest.fixture
def disk():
    return FailingDisk(10**9, errno.EIO, lasting=True)


@pytest.fixture
def register(layout, disk):
    register = Register(Journal(layout, disk), Outbox(layout.outbox, disk, kept=10), kept=10)
    register.load()
    yield register
    register.close()


def staged(register, name):
    register.add(Deployment(name, Digest("a" * 64), "tiny", State.PLANNED, "me", 0.0, 0.0), "")
    return register.move(name, Done())


def on_disk(layout, name):
    records = {record.deployment.id: record for record in Journal(layout, FailingDisk(10**9, errno.EIO)).load()}
    return records[name].deployment.state


def test_a_step_forward_that_the_disk_refuses_has_not_been_made(register, disk, layout):
    staged(register, "d-1")
    disk._at = 0
    with pytest.raises(DeviceError, match="EIO"):
        register.move("d-1", Done())
    assert register.get("d-1").deployment.state is on_disk(layout, "d-1") is State.STAGING


def test_a_way_back_ends_in_memory_and_is_written_down_with_the_next_change(register, disk, layout):
    staged(register, "d-1")
    disk._at = 0
    assert register.move("d-1", FAILED).deployment.state is State.FAILED
    assert [event.state for event in register.watch("d-1", after_sequence=0, live=lambda: True)][-1] is State.FAILED
    assert on_disk(layout, "d-1") is State.STAGING
    disk.heal()
    staged(register, "d-2")
    assert on_disk(layout, "d-1") is State.FAILED


def test_or_when_the_agent_stops(register, disk, layout):
    staged(register, "d-1")
    disk._at = 0
    register.move("d-1", FAILED)
    disk.heal()
    register.close()
    assert on_disk(layout, "d-1") is State.FAILED


def test_events_that_the_disk_refuses_are_told_and_the_next_ones_are_kept(register, disk, layout):
    disk._at = 0
    with pytest.raises(DeviceError):
        staged(register, "d-1")
    disk.heal()
    staged(register, "d-2")
    outbox = Outbox(layout.outbox, disk, kept=10)
    outbox.open()
    assert [event.state for event in outbox.after(0, "d-2")] == [State.PLANNED, State.STAGING]
    outbox.close()
