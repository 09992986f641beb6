"""The journal's documents."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgectl_agent.core.deployments.journal import Journal, Record
from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.store.releases import Links
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.deployment import Deployment, DeploymentEvent, Failure, State
from edgectl_protos.domain.parity import DimensionFigure, ParityFigure, ParityReport


def record(deployment_id: str = "d-1", *, created_s: float = 1.0) -> Record:
    figure = ParityFigure("executed", "rmse", 1e-6, 5e-3, "shoulder")
    shown = ParityFigure("rest of the chunk", "rmse", 1e-6, None)
    dimensions = (
        DimensionFigure("shoulder", 1e-6, 2e-6, 1.0, 1.5),
        DimensionFigure("gripper", 0.0, 0.0, 1.0, 1.0, 0.5),
    )
    failure = Failure("parity_failed", "über dem Limit", "edgectl convert")
    deployment = Deployment(
        id=deployment_id,
        release=Digest("aa" * 32),
        name="tiny",
        state=State.FAILED,
        owner="alice",
        created_s=created_s,
        changed_s=2.0,
        previous=Digest("bb" * 32),
        failure=failure,
        parity=ParityReport(3, (figure, shown), dimensions),
    )
    event = DeploymentEvent(7, deployment_id, State.FAILED, 2.0, "why", failure)
    return Record(deployment, event, started=True, restore=Links(Digest("bb" * 32), None))


def test_a_record_comes_back_as_it_was(layout):
    Journal(layout, Disk()).save(record())
    assert Journal(layout, Disk()).load() == [record()]


def test_records_come_oldest_first(layout):
    journal = Journal(layout, Disk())
    for name, created_s in (("a", 3.0), ("b", 1.0), ("c", 2.0)):
        journal.save(record(name, created_s=created_s))
    assert [r.deployment.id for r in journal.load()] == ["b", "c", "a"]


def test_what_a_newer_agent_wrote_survives_this_one(layout):
    """Downgraded, and upgraded again: keys that this version does not know are there afterwards, and so are records in
    a state that it does not know.
    """
    journal = Journal(layout, Disk())
    journal.save(record())
    journal.save(record("d-2"))
    path, other = layout.deployments / "d-1.json", layout.deployments / "d-2.json"
    document = json.loads(path.read_bytes())
    document["stage"] = {"slot": "b"}
    document["deployment"]["signature"] = "abc"
    document["event"]["failure"]["remedy"] = ["one", "two"]
    path.write_text(json.dumps(document))
    newer = other.read_bytes().replace(b'"state":"failed"', b'"state":"merging"')
    other.write_bytes(newer)

    journal = Journal(layout, Disk())
    (found,) = journal.load()
    assert found == record()
    changed = replace(found, started=False, deployment=replace(found.deployment, owner="bob"))
    journal.save(changed)
    document["started"], document["deployment"]["owner"] = False, "bob"
    assert json.loads(path.read_bytes()) == document
    assert other.read_bytes() == newer
    assert Journal(layout, Disk()).load() == [changed]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"deployment": {}}', b"\x00" * 4096, b"\xff\xfe"])
def test_a_damaged_document_is_set_aside_and_reported(layout, caplog, damage):
    journal = Journal(layout, Disk())
    journal.save(record("good"))
    for _ in range(2):
        (layout.deployments / "bad.json").write_bytes(damage)
        assert [r.deployment.id for r in journal.load()] == ["good"]
    assert "bad.json is damaged" in caplog.text
    assert sorted(path.name for path in layout.damaged.iterdir()) == ["bad.json", "bad.json.1"]


def test_a_document_about_another_deployment_is_set_aside(layout):
    journal = Journal(layout, Disk())
    journal.save(record("a"))
    (layout.deployments / "a.json").rename(layout.deployments / "b.json")
    assert journal.load() == []
    assert (layout.damaged / "b.json").exists()


def test_a_forgotten_record_is_gone(layout):
    journal = Journal(layout, Disk())
    journal.save(record())
    journal.forget("d-1")
    assert journal.load() == []
