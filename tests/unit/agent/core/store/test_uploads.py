"""Uploads by verified chunks, and what an offer finds on the device already."""

from __future__ import annotations

import os
from array import array

import pytest

from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.store.blobs import Blobs, digest_of
from edgectl_agent.core.store.chunk_lists import ChunkLists
from edgectl_agent.core.store.upload import SyncRule
from edgectl_agent.core.store.uploads import Uploads
from edgectl_protos.codec.transfer import chunk_digest, missing_in
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.chunks import CHUNK_DIGEST_BYTES, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, ChunkList
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, DeviceError, DiskFullError, StateError
from edgectl_testkit.raw_client import chunks_of

SIZE = MIN_CHUNK_BYTES
DATA = b"".join(bytes([value]) * SIZE for value in range(10))[:-100]
CHUNKS = chunks_of(DATA, size_bytes=SIZE)
DIGEST = digest_of(DATA)
ALL = range(10)


@pytest.fixture
def folders(tmp_path):
    for name in ("blobs", "partial", "chunks"):
        (tmp_path / name).mkdir()
    return tmp_path


def uploads(folders, *, disk=None, every_bytes=1 << 30, every_s=1e9):
    disk = disk or Disk()
    blobs, lists = Blobs(folders / "blobs", disk), ChunkLists(folders / "chunks", disk)
    return Uploads(folders / "partial", blobs, lists, disk, SyncRule(every_bytes, every_s, lambda: 0.0))


def offer(store, data=DATA, chunks=CHUNKS, digest=None):
    return store.offer(digest or digest_of(data), chunks, holder="d", going_on=lambda: None)


def missing(upload):
    return [index for part in missing_in(upload.have(), len(upload.chunks)) for index in part]


def put(upload, indices, data=DATA):
    offsets = upload.chunks.offsets()
    for index in indices:
        upload.write(index, 1, memoryview(data)[offsets[index] : offsets[index + 1]])


def stored(store, data, chunks):
    upload = offer(store, data, chunks)
    put(upload, missing(upload), data)
    store.commit(digest_of(data))


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


def test_frames_of_an_earlier_offer_are_refused(folders):
    store = uploads(folders)
    first = offer(store)
    name = first.name
    assert store.named(name) is first
    second = offer(store)
    assert second.name != name
    with pytest.raises(StateError, match="no such upload"):
        store.named(name)


def test_another_list_of_chunks_starts_over(folders):
    store = uploads(folders)
    upload = offer(store)
    put(upload, [0])
    upload.sync()
    other = chunks_of(DATA, size_bytes=2 * SIZE)
    assert missing(offer(store, chunks=other)) == list(range(5))
    assert missing(offer(uploads(folders), chunks=other)) == list(range(5))
    with pytest.raises(StateError, match="has ended"):
        put(upload, [1])


def test_a_whole_file_of_another_digest_is_dropped(folders):
    store = uploads(folders)
    wrong = digest_of(b"something else")
    put(offer(store, digest=wrong), ALL)
    with pytest.raises(BundleCorruptError, match=f"have the digest {DIGEST.short}"):
        store.commit(wrong)
    for name in ("partial", "blobs", "chunks"):
        assert list((folders / name).iterdir()) == []


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


def test_an_empty_blob_needs_no_chunks(folders):
    store = uploads(folders)
    empty = digest_of(b"")
    assert missing(offer(store, b"", chunks_of(b""))) == []
    store.commit(empty)
    assert (folders / "blobs" / empty.hex).read_bytes() == b""


def test_space_is_reserved_before_the_first_byte(folders):
    store = uploads(folders)
    offer(store)
    assert store.reserved_bytes(DIGEST) >= len(DATA)


def test_an_offer_for_which_there_is_no_room_leaves_nothing(folders):
    class Full(Disk):
        def write(self, path, data, *, mode=0o600):
            raise DiskFullError("no space left")

    with pytest.raises(DiskFullError):
        offer(uploads(folders, disk=Full()))
    assert list((folders / "partial").iterdir()) == []


def test_bytes_are_due_after_so_many_or_after_so_long(folders):
    now = [0.0]
    disk = Disk()
    blobs, lists = Blobs(folders / "blobs", disk), ChunkLists(folders / "chunks", disk)
    store = Uploads(folders / "partial", blobs, lists, disk, SyncRule(3 * SIZE, 1.0, lambda: now[0]))
    upload = offer(store)
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


def test_an_upload_that_was_not_offered_is_refused(folders):
    store = uploads(folders)
    with pytest.raises(StateError, match="not offered"):
        store.commit(DIGEST)
    with pytest.raises(StateError, match="no such upload"):
        store.named(bytes(16))


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


def test_only_a_few_uploads_are_open_at_once(folders):
    store = uploads(folders)
    before = len(os.listdir("/proc/self/fd"))
    opened = []
    for number in range(20):
        data = bytes([number]) * (SIZE + 1)
        opened.append(offer(store, data, chunks_of(data, size_bytes=SIZE)))
    assert [upload.ended for upload in opened] == [True] * 12 + [False] * 8
    assert len(os.listdir("/proc/self/fd")) == before + 2 * 8
    store.close()
    assert len(os.listdir("/proc/self/fd")) == before


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


# --- chunks that are here already --------------------------------------------------------------------------------


def changed(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_chunks_of_another_blob_are_copied_and_only_the_rest_is_asked_for(folders):
    store = uploads(folders)
    stored(store, DATA, CHUNKS)
    other = changed(DATA, 3 * SIZE + 1)
    upload = offer(store, other, chunks_of(other, size_bytes=SIZE))
    assert missing(upload) == [3]
    put(upload, [3], other)
    store.commit(digest_of(other))
    assert (folders / "blobs" / digest_of(other).hex).read_bytes() == other


def test_chunks_that_moved_are_found_where_they_are(folders):
    store = uploads(folders)
    stored(store, DATA, CHUNKS)
    pieces = [DATA[i * SIZE : (i + 1) * SIZE] for i in (7, 2, 3)] + [b"new" * 9000]
    other = b"".join(pieces)
    chunks = ChunkList(array("I", map(len, pieces)), b"".join(map(chunk_digest, pieces)))
    assert missing(offer(store, other, chunks)) == [3]


def test_what_was_copied_survives_a_power_cut(folders):
    store = uploads(folders)
    stored(store, DATA, CHUNKS)
    other = changed(DATA, 0)
    offer(store, other, chunks_of(other, size_bytes=SIZE))
    (folders / "blobs" / DIGEST.hex).unlink()
    assert missing(offer(uploads(folders), other, chunks_of(other, size_bytes=SIZE))) == [0]


def test_durable_chunks_of_an_unfinished_upload_are_copied_too(folders):
    store = uploads(folders)
    upload = offer(store)
    put(upload, (2, 5))
    upload.sync()
    other = DATA + b"more"
    assert missing(offer(store, other, chunks_of(other, size_bytes=SIZE))) == [0, 1, 3, 4, 6, 7, 8, 9]


@pytest.mark.parametrize("restart", [False, True])
def test_a_chunk_that_rotted_in_its_blob_is_asked_for(folders, restart):
    store = uploads(folders)
    stored(store, DATA, CHUNKS)
    blob = folders / "blobs" / DIGEST.hex
    blob.chmod(0o600)
    blob.write_bytes(changed(changed(DATA, SIZE + 7), 4 * SIZE))
    other = changed(DATA, 9 * SIZE)
    upload = offer(uploads(folders) if restart else store, other, chunks_of(other, size_bytes=SIZE))
    assert missing(upload) == [1, 4, 9]


def test_a_blob_that_was_cut_short_gives_what_it_has(folders):
    store = uploads(folders)
    stored(store, DATA, CHUNKS)
    blob = folders / "blobs" / DIGEST.hex
    blob.chmod(0o600)
    os.truncate(blob, 2 * SIZE + 5)
    other = changed(DATA, 9 * SIZE)
    assert missing(offer(store, other, chunks_of(other, size_bytes=SIZE))) == list(range(2, 10))


def test_a_list_that_lies_costs_a_look_and_nothing_else(folders):
    store = uploads(folders)
    stored(store, DATA, CHUNKS)
    other = os.urandom(len(DATA))
    ChunkLists(folders / "chunks", Disk()).drop(DIGEST)
    ChunkLists(folders / "chunks", Disk()).save(DIGEST, chunks_of(other, size_bytes=SIZE))
    assert missing(offer(store, other, chunks_of(other, size_bytes=SIZE))) == list(ALL)


def test_copying_ends_when_the_deployment_does(folders):
    store = uploads(folders)
    stored(store, DATA, CHUNKS)
    other = changed(DATA, 0)

    def ended():
        raise StateError("withdrawn")

    with pytest.raises(StateError, match="withdrawn"):
        store.offer(digest_of(other), chunks_of(other, size_bytes=SIZE), holder="d", going_on=ended)


def test_what_is_copied_is_synced_as_it_goes(folders):
    store = uploads(folders)
    stored(store, DATA, CHUNKS)
    disk = Disk()
    blobs, lists = Blobs(folders / "blobs", disk), ChunkLists(folders / "chunks", disk)
    store = Uploads(folders / "partial", blobs, lists, disk, SyncRule(1, 1e9, lambda: 0.0))
    pieces = [DATA[i * SIZE : (i + 1) * SIZE] for i in (7, 2, 5, 1)]
    other, calls = b"".join(pieces), []

    def going_on():
        calls.append(1)
        if len(calls) == 3:
            raise StateError("withdrawn")

    chunks = chunks_of(other, size_bytes=SIZE)
    with pytest.raises(StateError):
        store.offer(digest_of(other), chunks, holder="d", going_on=going_on)
    (folders / "blobs" / DIGEST.hex).unlink()
    assert missing(offer(uploads(folders), other, chunks)) == [2, 3]


def test_digests_of_half_the_length_name_a_chunk():
    assert len(chunk_digest(b"x")) == CHUNK_DIGEST_BYTES
