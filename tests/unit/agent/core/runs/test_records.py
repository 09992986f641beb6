"""What of a run is on the disk, and what of a worker's becomes the agent's."""

from __future__ import annotations

import os

import pytest

from edgectl_agent.core.runs.records import RunRecords
from edgectl_agent.core.store.atomic import Disk
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.errors import BundleCorruptError, WorkerError
from edgectl_protos.domain.run import Run, RunPhase

RUN = Run("r-1", "d-1", Digest("a" * 64), "pusht", "ada", "", RunPhase.LOADING, 1.8e9)


@pytest.fixture
def folder(tmp_path):
    for name in ("runs", "damaged", "scratch"):
        (tmp_path / name).mkdir()
    return tmp_path


def make(folder, take_back=lambda path: None):
    return RunRecords(folder / "runs", folder / "damaged", Disk(), take_back, kept=3)


def test_samples_are_moved_before_they_are_looked_at_so_that_a_worker_cannot_put_a_link_in_their_place(folder):
    (folder / "secret").write_text("the key of the device")
    written = folder / "scratch" / "r-1.npz"
    written.write_text("samples")

    def take_back(path):
        # The worker is quick.
        written.unlink(missing_ok=True)
        written.symlink_to(folder / "secret")

    records = make(folder, take_back)
    records.take_samples("r-1", written)
    assert b"".join(records.samples("r-1", 0)) == b"samples"


@pytest.mark.parametrize("make_it", [os.symlink, os.link, lambda _, path: path.mkdir(), lambda _, path: None])
def test_what_is_no_file_of_the_workers_own_becomes_no_samples_and_leaves_nothing(folder, make_it):
    (folder / "secret").write_text("the key of the device")
    written = folder / "scratch" / "r-1.npz"
    make_it(folder / "secret", written)
    with pytest.raises(WorkerError, match=r"r-1\.npz"):
        make(folder).take_samples("r-1", written)
    assert list((folder / "runs").iterdir()) == []
    assert (folder / "secret").read_text() == "the key of the device"


def test_a_document_about_another_run_is_damaged_and_writes_nowhere(folder):
    records = make(folder)
    records.begin(RUN)
    document = (folder / "runs" / "r-1.json").read_text().replace('"r-1"', '"../r-9"')
    (folder / "runs" / "r-1.json").write_text(document)
    with pytest.raises(BundleCorruptError, match="about run"):
        records.find("r-1")
    records.open()
    assert [path.name for path in (folder / "damaged").iterdir()] == ["r-1.json"]
    assert not (folder / "r-9.json").exists()
