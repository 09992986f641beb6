from __future__ import annotations

import fcntl
import json
import os
import threading

import pytest

from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.trust import audit
from edgectl_agent.core.trust.audit import AuditLog
from edgectl_agent.core.trust.callers import Caller
from edgectl_host.trust.audit import Seen, verify
from edgectl_protos.domain.errors import AuditError
from edgectl_protos.domain.trust import Role

ADA = Caller("ada", Role.ADMIN, "01")


@pytest.fixture
def log(tmp_path):
    return AuditLog(tmp_path, Disk())


def entries(log):
    return verify(log.read(0), Seen())[0]


def test_a_line_says_who_did_what_and_goes_on_from_the_line_before(log):
    log.changed("Create", ADA, "d1")
    log.refused("Start", None, "no certificate")
    first, second = entries(log)
    assert (first.number, first.caller, first.role, first.event, first.detail) == (1, "ada", "admin", "Create", "d1")
    assert (second.number, second.caller, second.detail) == (2, "", "refused: no certificate")
    assert first.previous == ""
    assert second.previous != ""
    assert log.head()[0] == 2


def test_another_process_goes_on_where_this_one_stopped(log, tmp_path):
    log.changed("a", ADA)
    AuditLog(tmp_path, Disk()).changed("b", ADA)
    log.changed("c", ADA)
    assert [entry.event for entry in entries(log)] == ["a", "b", "c"]


def test_the_chain_goes_on_over_files_and_the_oldest_are_removed(tmp_path):
    log = AuditLog(tmp_path, Disk(), max_bytes=600, files_kept=2)
    for number in range(40):
        log.changed("call", ADA, str(number))
    found = entries(log)
    assert len(list(tmp_path.glob("audit-*.jsonl"))) == 2
    assert found[0].number > 1
    assert found[-1].detail == "39"


@pytest.mark.parametrize("edit", ["detail", "remove", "swap", "last"])
def test_an_altered_log_is_seen(log, tmp_path, edit):
    for number in range(5):
        log.changed("call", ADA, str(number))
    seen = Seen(*log.head())
    path = tmp_path / "audit.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    if edit == "detail":
        lines[2] = lines[2].replace(b'"2"', b'"7"')
    elif edit == "remove":
        del lines[2]
    elif edit == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    else:
        # Cut off at its end it is a whole chain: only who has seen more of it knows.
        lines.pop()
    path.write_bytes(b"".join(lines))
    with pytest.raises(AuditError):
        verify(log.read(0), seen)


def test_a_log_that_was_written_anew_from_where_it_was_seen_is_another(log, tmp_path):
    log.changed("a", ADA)
    seen = Seen(*log.head())
    (tmp_path / "audit.jsonl").unlink()
    log.changed("b", ADA)
    with pytest.raises(AuditError, match="another"):
        verify(log.read(0), seen)


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_line_that_was_cut_off_by_a_power_cut_is_replaced_and_told(log, tmp_path, cut):
    log.changed("a", ADA)
    log.changed("b", ADA)
    path = tmp_path / "audit.jsonl"
    os.truncate(path, path.stat().st_size - cut)
    log.changed("c", ADA)
    first, second = entries(log)
    assert (first.event, second.event, second.number) == ("a", "c", 2)
    assert "cut off" in second.detail


def test_a_line_that_cannot_be_read_does_not_stop_the_log_and_stays_to_be_seen(log, tmp_path):
    log.changed("a", ADA)
    with (tmp_path / "audit.jsonl").open("ab") as file:
        file.write(b"\xff\xff{\n")
    log.changed("b", ADA)
    assert log.head()[0] == 3
    with pytest.raises(AuditError, match="cannot be read"):
        entries(log)


def test_refusals_are_bounded_and_the_rest_is_counted(tmp_path):
    now = [0.0]
    log = AuditLog(tmp_path, Disk(), refusals_a_minute=3, monotonic=lambda: now[0])
    for _ in range(50):
        log.refused("Hello", None, "no")
    assert len(entries(log)) == 3
    now[0] = 60.0
    log.refused("Hello", None, "no")
    assert "47 more refusals are not listed" in entries(log)[-1].detail


class FullDisk(Disk):
    full = True

    def _append(self, fd, data):
        if self.full:
            raise OSError(28, "No space left on device")
        super()._append(fd, data)


def test_a_full_disk_stops_no_call_and_is_told_afterwards(tmp_path):
    disk = FullDisk()
    log = AuditLog(tmp_path, disk)
    log.changed("a", ADA)
    log.changed("b", ADA)
    disk.full = False
    log.changed("c", ADA)
    (only,) = entries(log)
    assert "2 lines could not be written" in only.detail


def test_what_a_caller_says_is_bounded_and_stays_on_its_line(log):
    log.refused("Create", Caller("x", Role.VIEW), 'a\n{"number": 9}\x1b[31m' + "y" * 10_000)
    (only,) = entries(log)
    assert len(only.detail) <= 600
    assert "\n" not in only.detail
    assert "\x1b" not in only.detail


def test_a_caller_that_calls_itself_by_a_long_name_breaks_no_line(log):
    log.changed("Create", Caller("\U0001f916" * 5000 + "\n", Role.ADMIN), "\U0001f916" * 5000)
    log.changed("Start", ADA)
    first, second = entries(log)
    assert (len(first.caller), len(first.detail)) == (200, 600)
    assert (second.number, log.head()[0]) == (2, 2)


def test_whoever_waited_while_another_process_renamed_the_file_goes_on_in_the_new_one(tmp_path, monkeypatch):
    log = AuditLog(tmp_path, Disk())
    log.changed("a", ADA)

    def flock(fd, how):
        monkeypatch.undo()
        os.rename(tmp_path / "audit.jsonl", tmp_path / "audit-000000000001.jsonl")
        AuditLog(tmp_path, Disk()).changed("b", ADA)
        fcntl.flock(fd, how)

    monkeypatch.setattr(audit.fcntl, "flock", flock)
    log.changed("c", ADA)
    assert [entry.event for entry in entries(log)] == ["a", "b", "c"]


def test_a_file_that_is_renamed_while_the_log_is_opened_for_reading_leaves_no_gap(tmp_path):
    log = AuditLog(tmp_path, Disk(), max_bytes=1)
    log.changed("a", ADA)
    listed = log._files
    writes = ["b", "c"]

    def files():
        paths = listed()
        if writes and threading.current_thread() is reader:
            # In another thread, as a call would.
            writer = threading.Thread(target=log.changed, args=(writes.pop(0), ADA))
            writer.start()
            writer.join()
        return paths

    log._files = files
    found = []
    reader = threading.Thread(target=lambda: found.extend(entries(log)))
    reader.start()
    reader.join()
    assert [entry.event for entry in found] == ["a", "b", "c"]


def test_threads_write_one_line_each(log):
    threads = [threading.Thread(target=log.changed, args=("call", ADA, str(n))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(entry.detail) for entry in entries(log)) == list(range(20))


def test_reading_from_a_number_gives_the_newer_lines(log):
    for number in range(5):
        log.changed("call", ADA, str(number))
    assert [json.loads(line)["number"] for line in log.read(4)] == [4, 5]
