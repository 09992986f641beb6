"""One upload by verified chunks: what is durable of it, and what is asked for again."""

from __future__ import annotations

import os
from array import array

import pytest

from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.store.upload import SyncRule
from edgectl_protos.codec.transfer import chunk_digest
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.chunks import MAX_CHUNK_BYTES, ChunkList
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, DeviceError, StateError
from edgectl_testkit.upload_folders import ALL, DATA, DIGEST, SIZE, folders_in, missing, offer, put, uploads


@pytest.fixture
def folders(tmp_path):
    return folders_in(tmp_path)


def test_a_blob_becomes_visible_only_when_it_is_whole_and_right(folders):
    store = uploads(folders)
    upload = offer(store)
    assert missing(upload) == list(ALL)
    put(upload, (3, 1, 2, 0, 4))
    assert list((folders / "blobs").iterdir()) == []
    with pytest.raises(StateError, match="lacks 5 of 10 chunks"):
        store.commit(DIGEST)
    put(upload, range(5, 10))
    store.commit(DIGEST)
    assert (folders / "blobs" / DIGEST.hex).read_bytes() == DATA
    assert list((folders / "partial").iterdir()) == []
    store.commit(DIGEST)


def test_several_chunks_come_in_one_frame(folders):
    store = uploads(folders)
    upload = offer(store)
    upload.write(0, 4, memoryview(DATA)[: 4 * SIZE])
    upload.write(4, 6, memoryview(DATA)[4 * SIZE :])
    store.commit(DIGEST)
    assert (folders / "blobs" / DIGEST.hex).read_bytes() == DATA


def test_nothing_that_was_synced_is_asked_for_again_after_a_restart(folders):
    first = offer(uploads(folders))
    put(first, (0, 7, 6))
    first.sync()
    store = uploads(folders)
    second = offer(store)
    assert missing(second) == [1, 2, 3, 4, 5, 8, 9]
    put(second, missing(second))
    store.commit(DIGEST)
    assert (folders / "blobs" / DIGEST.hex).read_bytes() == DATA


def test_what_was_not_synced_is_asked_for_again(folders):
    put(offer(uploads(folders)), ALL)
    assert missing(offer(uploads(folders))) == list(ALL)


def test_an_altered_chunk_is_refused_and_those_before_it_are_kept(folders):
    upload = offer(uploads(folders))
    frame = bytearray(DATA[: 3 * SIZE])
    frame[SIZE + 5] ^= 1
    with pytest.raises(BundleCorruptError, match="chunk 1 "):
        upload.write(0, 3, memoryview(frame))
    assert missing(upload) == list(range(1, 10))


@pytest.mark.parametrize(
    ("first", "count", "size", "why"),
    [
        (0, 1, SIZE - 1, "have 16,384 bytes; 16,383 arrived"),
        (0, 1, SIZE + 1, "have 16,384 bytes; 16,385 arrived"),
        (9, 1, SIZE, "have 16,284 bytes; 16,384 arrived"),
        (10, 1, 1, "has no chunks 10 to 10; it has 10"),
        (9, 2, SIZE, "has no chunks 9 to 10"),
        (0, 0, 1, "has no chunks 0 to -1"),
        (2**32 - 1, 2**32 - 1, 1, "has no chunks 4294967295 to"),
    ],
)
def test_a_frame_of_another_shape_is_refused(folders, first, count, size, why):
    upload = offer(uploads(folders))
    with pytest.raises(BundleError, match=why):
        upload.write(first, count, memoryview(bytes(size)))
    assert missing(upload) == list(ALL)


def test_chunks_that_come_twice_or_in_any_order_change_nothing(folders):
    store = uploads(folders)
    upload = offer(store)
    put(upload, [9, 3, 3, 0, 9, 1, 0, 8, 7, 2, 4, 6, 5, 5])
    upload.sync()
    record = (folders / "partial" / f"{DIGEST.hex}.map").stat().st_size
    put(upload, ALL)
    upload.sync()
    assert (folders / "partial" / f"{DIGEST.hex}.map").stat().st_size == record
    store.commit(DIGEST)
    assert (folders / "blobs" / DIGEST.hex).read_bytes() == DATA


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-1],
        lambda b: b + b"\x00\x00",
        lambda b: b + bytes(8),
        lambda b: b + b"\xff" * 8,
        lambda b: b"x" + b[1:],
        lambda b: b"",
        lambda b: b + bytes(8 * 20),
    ],
)
def test_a_damaged_map_loses_at_most_what_it_damaged_and_invents_nothing(folders, damage):
    upload = offer(uploads(folders))
    put(upload, (0, 1))
    upload.sync()
    record = folders / "partial" / f"{DIGEST.hex}.map"
    record.write_bytes(damage(record.read_bytes()))
    store = uploads(folders)
    again = offer(store)
    assert set(missing(again)) >= set(range(2, 10))
    put(again, missing(again))
    store.commit(DIGEST)


def test_a_map_without_its_bytes_is_not_believed(folders):
    upload = offer(uploads(folders))
    put(upload, [0])
    upload.sync()
    (folders / "partial" / f"{DIGEST.hex}.data").unlink()
    assert missing(offer(uploads(folders))) == list(ALL)


def test_bytes_are_due_after_so_many_or_after_so_long(folders):
    now = [0.0]
    upload = offer(uploads(folders, rule=SyncRule(3 * SIZE, 1.0, lambda: now[0])))
    put(upload, (0, 1))
    assert not upload.due
    put(upload, [2])
    assert upload.due
    upload.sync()
    now[0] = 5.0
    assert not upload.due
    put(upload, [3])
    assert upload.due


def test_one_sync_records_neighbours_as_one(folders):
    appended = []

    class Counting(Disk):
        def append(self, fd, data, path):
            appended.append(len(data) // 8)
            super().append(fd, data, path)

    upload = offer(uploads(folders, disk=Counting()))
    put(upload, (4, 2, 3, 9, 0))
    upload.sync()
    upload.sync()
    assert appended == [3]


def test_after_a_failed_sync_what_waited_is_sent_again(folders, monkeypatch):
    store = uploads(folders)
    upload = offer(store)
    put(upload, [0])
    upload.sync()
    put(upload, [1])

    def fails(fd):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("edgectl_agent.core.store.upload._sync_data", fails)
        with pytest.raises(DeviceError, match="Input/output"):
            upload.sync()
    with pytest.raises(StateError, match="has ended"):
        put(upload, [2])
    again = offer(store)
    assert missing(again) == list(range(1, 10))
    put(again, missing(again))
    store.commit(DIGEST)


def test_an_upload_that_was_dropped_under_way_is_refused_and_leaves_nothing(folders):
    store = uploads(folders)
    upload = offer(store)
    put(upload, [0])
    store.drop(DIGEST)
    with pytest.raises(StateError, match="has ended"):
        put(upload, [1])
    with pytest.raises(StateError, match="has ended"):
        upload.sync()
    assert list((folders / "partial").iterdir()) == []


@pytest.mark.parametrize("edge", [2**31, 2**32])
@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_chunks_beyond_what_32_bits_count_lie_where_they_should(folders, monkeypatch, edge, beyond):
    """A sparse file: neither 4 GiB are written here nor reserved."""
    monkeypatch.setattr(os, "posix_fallocate", lambda fd, offset, size: os.ftruncate(fd, size))
    size = edge + SIZE + beyond
    full, rest = divmod(size, MAX_CHUNK_BYTES)
    last = os.urandom(rest)
    zeros = chunk_digest(bytes(MAX_CHUNK_BYTES))
    before = os.urandom(MAX_CHUNK_BYTES)
    digests = [zeros] * (full - 1) + [chunk_digest(before), chunk_digest(last)]
    chunks = ChunkList(array("I", [MAX_CHUNK_BYTES] * full + [rest]), b"".join(digests))
    name = Digest("ab" * 32)
    upload = uploads(folders).offer(name, chunks, holder="d", going_on=lambda: None)
    upload.write(full, 1, memoryview(last))
    upload.write(full - 1, 1, memoryview(before))
    upload.sync()
    path = folders / "partial" / f"{name.hex}.data"
    assert path.stat().st_size == size
    with path.open("rb") as file:
        file.seek((full - 1) * MAX_CHUNK_BYTES)
        assert file.read() == before + last
    again = uploads(folders).offer(name, chunks, holder="d", going_on=lambda: None)
    assert missing(again) == list(range(full - 1))
