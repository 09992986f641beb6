import errno
import os

import numpy as np
import pytest

from edgectl_agent.worker.capture import Capture, picked, read_observations
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, DiskFullError, WorkerError
from edgectl_testkit.bundles import CAMERAS, STATE, tiny_golden


def observations():
    return {key[3:]: value for key, value in tiny_golden(5).items() if key.startswith("in.")}


def captured(calls, limit, *, shape=lambda call: (1, 2)):
    taken = Capture("act", calls, limit)
    for call in range(calls):
        taken.before("other", {"x": np.full((1, 2), -1.0, np.float32)})
        taken.before("act", {"x": np.full(shape(call), call, np.float32)})
    return taken


@pytest.mark.parametrize(
    ("calls", "limit", "places"),
    [
        (9, 3, {0, 4, 8}),
        (10, 4, {0, 3, 6, 9}),
        (3, 10, {0, 1, 2}),
        (5, 1, {0}),
        (5, 0, set()),
        (5, -1, set()),
    ],
)
def test_places_are_spread_evenly_from_the_first_to_the_last(calls, limit, places):
    assert picked(calls, limit) == places


def test_as_many_places_as_wanted_are_picked_from_however_many():
    assert all(len(picked(calls, limit)) == min(calls, limit) for calls in range(1, 60) for limit in range(1, 60))


def test_the_picked_calls_of_the_component_are_written_with_one_row_each(tmp_path):
    assert captured(9, 3).write(tmp_path / "c.npz") == 3
    with np.load(tmp_path / "c.npz", allow_pickle=False) as file:
        assert file.files == ["x"]
        np.testing.assert_array_equal(file["x"], np.array([[[0, 0]], [[4, 4]], [[8, 8]]], np.float32))


def test_a_buffer_that_is_used_again_does_not_change_what_was_taken(tmp_path):
    taken, buffer = Capture("act", 2, 2), np.zeros(2, np.float32)
    for value in (1, 2):
        buffer[:] = value
        taken.before("act", {"x": buffer})
    taken.write(tmp_path / "c.npz")
    with np.load(tmp_path / "c.npz") as file:
        assert file["x"].tolist() == [[1, 1], [2, 2]]


def test_what_comes_out_is_not_kept_and_the_component_runs(tmp_path):
    taken = Capture("act", 1, 1)
    assert taken.before("act", {"x": np.zeros(2, np.float32)}) is None
    taken.after("act", {"y": np.ones(2, np.float32)})
    taken.write(tmp_path / "c.npz")
    with np.load(tmp_path / "c.npz") as file:
        assert file.files == ["x"]


def test_an_input_whose_shape_changes_is_refused(tmp_path):
    with pytest.raises(BundleError, match="'x' of 'act' has another shape from call to call"):
        captured(3, 3, shape=lambda call: (1, 1 + call)).write(tmp_path / "c.npz")


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, DiskFullError), (errno.EIO, WorkerError)])
def test_a_disk_that_refuses_is_said(tmp_path, monkeypatch, number, error):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(np, "savez", refuse)
    with pytest.raises(error, match=r"cannot be written to c\.npz"):
        captured(3, 3).write(tmp_path / "c.npz")


def test_observations_are_read_one_by_one(release, tmp_path):
    np.savez(tmp_path / "o.npz", **observations(), unasked=np.zeros(2))
    found = read_observations(tmp_path / "o.npz", release)
    assert len(found) == 5
    assert sorted(found[0]) == sorted([*CAMERAS, STATE])
    np.testing.assert_array_equal(found[3][STATE], observations()[STATE][3])


def test_observations_that_lack_a_feature_are_refused(release, tmp_path):
    np.savez(tmp_path / "o.npz", **{name: value for name, value in observations().items() if name != STATE})
    with pytest.raises(BundleError, match=rf"o\.npz has no {STATE}; it has: {CAMERAS[0]}"):
        read_observations(tmp_path / "o.npz", release)


def test_observations_of_different_numbers_are_refused(release, tmp_path):
    np.savez(tmp_path / "o.npz", **(observations() | {STATE: observations()[STATE][:2]}))
    with pytest.raises(BundleError, match="different numbers: 2, 5"):
        read_observations(tmp_path / "o.npz", release)


def test_a_file_that_is_no_archive_is_refused(release, tmp_path):
    (tmp_path / "o.npz").write_bytes(b"no archive")
    with pytest.raises(BundleCorruptError):
        read_observations(tmp_path / "o.npz", release)
