import errno
import os

import numpy as np
import pytest

from edgectl_agent.worker.loop.recorder import (
    DONE,
    INFERENCE,
    SCHEDULED,
    SLOT,
    TICK_COLUMNS,
    WIDTH,
    Recorder,
)
from edgectl_agent.worker.spans import SPAN_COLUMNS, Site
from edgectl_protos.domain.errors import DiskFullError, LoopError

SITES = (Site("act", "component", "act"), Site("step", "component", "expert", 0, 2), Site("dec", "decode"))


def recorded():
    recorder = Recorder(SITES, 3, 4, lambda: 0)
    for cell in range(2 * WIDTH):
        recorder.cells[cell] = cell
    recorder.count = 2
    recorder.spans.inference = 7
    recorder.spans.add(1, 10, 30)
    return recorder


def test_cells_are_rows_of_named_columns():
    recorder = recorded()
    assert [TICK_COLUMNS[column] for column in (SLOT, SCHEDULED, DONE, INFERENCE)] == [
        "slot",
        "scheduled",
        "done",
        "inference",
    ]
    assert list(recorder.column(SCHEDULED)) == [SCHEDULED, SCHEDULED + WIDTH]
    assert recorder.ticks.shape == (2, WIDTH)


def test_samples_are_spooled_without_pickles_and_nothing_else_is_left(tmp_path):
    recorder = recorded()
    path = tmp_path / "runs" / "r.npz"
    size = recorder.spool(path, np.array([5, 6, 7]))
    assert os.listdir(path.parent) == ["r.npz"]
    assert size == path.stat().st_size
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["ticks"], recorder.ticks)
        assert tuple(file["tick_columns"]) == TICK_COLUMNS
        assert file["spans"].tolist() == [[7, 1, 10, 30]]
        assert tuple(file["span_columns"]) == SPAN_COLUMNS
        assert list(file["site_steps"]) == ["act", "step", "dec"]
        assert list(file["site_passes"]) == [-1, 0, -1]
        assert list(file["responses"]) == [5, 6, 7]


def test_a_run_without_spans_can_be_spooled(tmp_path):
    Recorder((), 1, 0, lambda: 0).spool(tmp_path / "r.npz", np.array([5]))
    with np.load(tmp_path / "r.npz", allow_pickle=False) as file:
        assert (file["ticks"].shape, file["spans"].shape) == ((0, WIDTH), (0, len(SPAN_COLUMNS)))


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, DiskFullError), (errno.EIO, LoopError)])
def test_a_disk_that_refuses_leaves_no_half_file(tmp_path, monkeypatch, number, error):
    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(error, match="samples of the run cannot be written"):
        recorded().spool(tmp_path / "r.npz", np.array([5]))
    assert os.listdir(tmp_path) == []
