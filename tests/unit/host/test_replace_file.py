"""Files that are written as a whole."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from edgectl_host.replace_file import replace_file


def test_a_file_is_replaced_and_is_its_users_alone(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("before")
    path.chmod(0o644)
    replace_file(path, b"after")
    assert path.read_bytes() == b"after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("before")

    def full(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyboardInterrupt):
        replace_file(path, b"after")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.json", "before")]


def test_several_at_once_leave_one_of_their_files(tmp_path):
    texts = [str(number).encode() * 10_000 for number in range(8)]
    threads = [threading.Thread(target=replace_file, args=(tmp_path / "a.json", text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() in texts
