"""The database of runs."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from edgectl_host.runs import schema
from edgectl_host.runs.record import RunRecord
from edgectl_host.runs.store import RunStore
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest
from edgectl_protos.domain.deployment import Deployment, State
from edgectl_protos.domain.errors import RunsError
from edgectl_protos.domain.loop import Mode
from edgectl_protos.domain.parity import DimensionFigure, ParityFigure, ParityReport
from edgectl_testkit.bundles import tiny_bundle
from edgectl_testkit.runs import run_summary, several_components, with_misses


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "runs.db"


@pytest.fixture
def store(path):
    store = RunStore(f"sqlite:///{path}", lock_timeout_s=0.1)
    yield store
    store.close()


def record(run_id: str = "run-1", *, started_s: float = 1.79e9, device: str = "nuc") -> RunRecord:
    summary = replace(run_summary(run_id), started_s=started_s)
    report = ParityReport(
        8,
        (ParityFigure("executed", "rmse", 2e-7, 5e-3, "shoulder"),),
        (DimensionFigure("shoulder", 1e-6, 2e-6, 5.0, 5.0, correlation=1.0),),
    )
    deployment = Deployment("d-1", summary.release, "tiny", State.COMMITTED, "me@here", 1.0, 2.0, parity=report)
    return RunRecord.of(device, summary, deployment, None)


def test_a_run_comes_back_as_it_was(store, tmp_path):
    manifest = from_bytes(Manifest, tiny_bundle(tmp_path / "bundle")[1], what=MANIFEST_NAME)
    kept = replace(record(), manifest=manifest, samples_path="/somewhere.npz")
    store.add(kept)
    assert store.get("run-1") == kept
    assert store.release(kept.summary.release) == manifest


def test_a_run_of_a_release_from_elsewhere_is_kept_without_its_manifest(store):
    store.add(record())
    assert store.get("run-1").manifest is None
    assert store.release(Digest("0" * 64)) is None


def test_the_list_is_newest_first_limited_and_by_device(store):
    for index in range(5):
        store.add(record(f"run-{index}", started_s=1e9 + index, device="a" if index % 2 else "b"))
    assert [row.id for row in store.list(limit=3)] == ["run-4", "run-3", "run-2"]
    assert [row.id for row in store.list(device="a")] == ["run-3", "run-1"]


def test_columns_of_the_list_are_those_of_the_run(store):
    store.add(RunRecord.of("pi", run_summary(stand_in_for="raspberry-pi-5"), None, None))
    row = store.list()[0]
    assert (row.device, row.board, row.stand_in) == ("pi", "raspberry-pi-5", True)
    assert (row.runtime, row.precision, row.mode, row.outcome) == ("onnxrt", "fp32", "paced", "pass")


def test_several_components_are_one_word_each_column(store):
    store.add(RunRecord.of("nuc", several_components(run_summary()), None, None))
    assert (store.list()[0].runtime, store.list()[0].precision) == ("openvino+onnxrt", "int8+fp32")


def test_a_closed_run_is_capacity_and_no_verdict(store):
    summary = run_summary()
    store.add(RunRecord.of("nuc", replace(summary, loop=replace(summary.loop, mode=Mode.CLOSED)), None, None))
    kept = store.get("last")
    assert (kept.verdict, kept.outcome, kept.exit_code) == (None, "capacity", 0)


def test_a_failed_run_keeps_its_verdict(store):
    store.add(RunRecord.of("nuc", with_misses(run_summary(), 126), None, None))
    assert (store.get("last").outcome, store.get("last").exit_code) == ("fail", 1)


def test_a_run_is_found_by_the_beginning_of_its_id_or_as_the_last(store):
    store.add(record("abc1", started_s=1.0))
    store.add(record("abd2", started_s=2.0))
    assert store.get("abc").summary.run_id == "abc1"
    assert store.get("last").summary.run_id == "abd2"
    with pytest.raises(RunsError, match="could be"):
        store.get("ab")
    with pytest.raises(RunsError, match="no run 'a%' is recorded"):
        store.get("a%")


def test_an_empty_database_has_no_last_run(store):
    with pytest.raises(RunsError, match="no run is recorded yet") as info:
        store.get("last")
    assert "edgectl profile" in info.value.hint
    assert store.list() == ()


def test_the_same_run_twice_is_refused(store):
    store.add(record())
    with pytest.raises(RunsError, match="recorded already"):
        store.add(record())


def test_a_locked_database_is_a_clear_error(store, path):
    store.add(record())
    holder = sqlite3.connect(path)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(RunsError, match=r"runs\.db: database is locked"):
            store.add(record("run-2"))
    finally:
        holder.close()


def test_a_damaged_database_is_a_clear_error(store, path):
    path.parent.mkdir()
    path.write_bytes(b"not a database at all, whatever the name says" * 100)
    with pytest.raises(RunsError, match=r"runs\.db: file is not a database") as info:
        store.list()
    assert "move it away" in info.value.hint


def test_a_database_of_another_schema_is_refused(store, path):
    store.add(record())
    store.close()
    database = sqlite3.connect(path)
    with database:
        database.execute(f"UPDATE edgectl_schema SET version = {schema.SCHEMA_VERSION + 1}")
    database.close()
    other = RunStore(f"sqlite:///{path}")
    with pytest.raises(
        RunsError, match=f"has schema {schema.SCHEMA_VERSION + 1}, this edgectl knows {schema.SCHEMA_VERSION}"
    ) as info:
        other.list()
    assert "mv " in info.value.hint
    other.close()


def test_a_record_that_was_tampered_with_is_refused(store, path):
    store.add(record())
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE runs SET summary = '{\"run_id\": 3}'")
    database.close()
    with pytest.raises(RunsError, match="the record of run-1 cannot be read"):
        store.get("run-1")


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(RunsError, match=r"runs database .*runs\.db"):
        RunStore(f"sqlite:///{tmp_path / 'data' / 'runs.db'}").list()
