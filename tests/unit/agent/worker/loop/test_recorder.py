import errno
import os

import numpy as np
import pytest

from edgectl_agent.worker.loop.recorder import Recorder
from edgectl_protos.domain.errors import DiskFullError, LoopError


def recorded():
    recorder = Recorder(["dec", "act"], 3)
    for cell in range(2 * recorder.width):
        recorder.cells[cell] = cell
    recorder.count = 2
    return recorder


def test_cells_are_rows_of_named_columns():
    recorder = recorded()
    assert recorder.columns[:4] == ("slot", "scheduled", "wake", "begin")
    assert recorder.columns[4:6] == ("dec", "act")
    assert list(recorder.column("act")) == [5, 5 + recorder.width]
    assert recorder.ticks.shape == (2, recorder.width)


def test_samples_are_spooled_without_pickles_and_nothing_else_is_left(tmp_path):
    recorder = recorded()
    path = tmp_path / "runs" / "r.npz"
    size = recorder.spool(path)
    assert os.listdir(path.parent) == ["r.npz"]
    assert size == path.stat().st_size
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["stamps"], recorder.ticks)
        assert tuple(file["columns"]) == recorder.columns


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, DiskFullError), (errno.EIO, LoopError)])
def test_a_disk_that_refuses_leaves_no_half_file(tmp_path, monkeypatch, number, error):
    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(error, match="samples of the run cannot be written"):
        recorded().spool(tmp_path / "r.npz")
    assert os.listdir(tmp_path) == []
