"""Uploads by verified chunks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.store.blobs import Blobs, digest_of
from edgectl_agent.core.store.uploads import Uploads, check_chunks
from edgectl_protos.domain.artifact import CHUNK_SIZE_BYTES, Chunk
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, StateError
from edgectl_testkit.raw_client import chunks_of

DATA = bytes(range(250)) * 4
SIZE = 100
CHUNKS = chunks_of(DATA, size_bytes=SIZE)
DIGEST = digest_of(DATA)


def piece(index):
    return index, DATA[index * SIZE : (index + 1) * SIZE]


@pytest.fixture
def folders(tmp_path):
    for name in ("blobs", "partial"):
        (tmp_path / name).mkdir()
    return tmp_path


def uploads(folders, *, sync_every_bytes=1 << 20):
    disk = Disk()
    return Uploads(folders / "partial", Blobs(folders / "blobs", disk), disk, sync_every_bytes=sync_every_bytes)


def test_a_blob_becomes_visible_only_when_it_is_whole_and_right(folders):
    store = uploads(folders)
    assert store.offer(DIGEST, len(DATA), CHUNKS) == tuple(range(10))
    assert store.write(DIGEST, [piece(i) for i in (3, 1, 2, 0, 4)]) == 500
    assert list((folders / "blobs").iterdir()) == []
    with pytest.raises(StateError, match="lacks 5 of 10 chunks"):
        store.commit(DIGEST)
    store.write(DIGEST, [piece(i) for i in range(5, 10)])
    store.commit(DIGEST)
    assert (folders / "blobs" / DIGEST.hex).read_bytes() == DATA
    assert list((folders / "partial").iterdir()) == []
    store.commit(DIGEST)


def test_nothing_that_was_acknowledged_is_asked_for_again_after_a_restart(folders):
    first = uploads(folders)
    first.offer(DIGEST, len(DATA), CHUNKS)
    first.write(DIGEST, [piece(i) for i in (0, 7)])
    second = uploads(folders)
    assert second.offer(DIGEST, len(DATA), CHUNKS) == (1, 2, 3, 4, 5, 6, 8, 9)
    second.write(DIGEST, [piece(i) for i in (1, 2, 3, 4, 5, 6, 8, 9)])
    second.commit(DIGEST)
    assert (folders / "blobs" / DIGEST.hex).read_bytes() == DATA


def test_what_arrived_before_the_stream_broke_is_kept(folders):
    def broken():
        yield piece(0)
        yield piece(1)
        raise ConnectionError

    store = uploads(folders)
    store.offer(DIGEST, len(DATA), CHUNKS)
    with pytest.raises(ConnectionError):
        store.write(DIGEST, broken())
    assert uploads(folders).offer(DIGEST, len(DATA), CHUNKS) == tuple(range(2, 10))


def test_an_altered_chunk_is_refused_and_not_recorded(folders):
    store = uploads(folders)
    store.offer(DIGEST, len(DATA), CHUNKS)
    with pytest.raises(BundleCorruptError, match="chunk 1 "):
        store.write(DIGEST, [piece(0), (1, b"x" * SIZE), piece(2)])
    assert store.offer(DIGEST, len(DATA), CHUNKS) == tuple(range(1, 10))


def test_a_chunk_of_another_size_or_number_is_refused(folders):
    store = uploads(folders)
    store.offer(DIGEST, len(DATA), CHUNKS)
    with pytest.raises(BundleCorruptError, match="5 bytes of 100"):
        store.write(DIGEST, [(0, DATA[:5])])
    with pytest.raises(BundleError, match="no chunk 10"):
        store.write(DIGEST, [(10, DATA[:100])])


def test_another_list_of_chunks_starts_over(folders):
    store = uploads(folders)
    store.offer(DIGEST, len(DATA), CHUNKS)
    store.write(DIGEST, [piece(0)])
    other = chunks_of(DATA, size_bytes=500)
    assert store.offer(DIGEST, len(DATA), other) == (0, 1)
    assert uploads(folders).offer(DIGEST, len(DATA), other) == (0, 1)


def test_a_whole_file_of_another_digest_is_dropped(folders):
    store = uploads(folders)
    wrong = digest_of(b"something else")
    store.offer(wrong, len(DATA), CHUNKS)
    store.write(wrong, [piece(i) for i in range(10)])
    with pytest.raises(BundleCorruptError, match=f"have the digest {DIGEST.short}"):
        store.commit(wrong)
    assert list((folders / "partial").iterdir()) == []
    assert list((folders / "blobs").iterdir()) == []


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b + b"\x00\x00", lambda b: b"x" + b[1:], lambda b: b""])
def test_a_damaged_record_loses_at_most_what_it_damaged_and_invents_nothing(folders, damage):
    store = uploads(folders)
    store.offer(DIGEST, len(DATA), CHUNKS)
    store.write(DIGEST, [piece(0), piece(1)])
    record = folders / "partial" / f"{DIGEST.hex}.map"
    record.write_bytes(damage(record.read_bytes()))
    again = uploads(folders)
    missing = again.offer(DIGEST, len(DATA), CHUNKS)
    assert set(missing) >= set(range(2, 10))
    again.write(DIGEST, [piece(i) for i in missing])
    again.commit(DIGEST)


def test_a_record_without_its_bytes_is_not_believed(folders):
    store = uploads(folders)
    store.offer(DIGEST, len(DATA), CHUNKS)
    store.write(DIGEST, [piece(0)])
    (folders / "partial" / f"{DIGEST.hex}.data").unlink()
    assert uploads(folders).offer(DIGEST, len(DATA), CHUNKS) == tuple(range(10))


def test_an_empty_blob_needs_no_chunks(folders):
    store = uploads(folders)
    empty = digest_of(b"")
    assert store.offer(empty, 0, ()) == ()
    store.commit(empty)
    assert (folders / "blobs" / empty.hex).read_bytes() == b""


def test_space_is_reserved_before_the_first_byte(folders):
    store = uploads(folders)
    big = CHUNK_SIZE_BYTES * 3
    chunks = tuple(Chunk(i * CHUNK_SIZE_BYTES, CHUNK_SIZE_BYTES, "00" * 32) for i in range(3))
    store.offer(DIGEST, big, chunks)
    assert store.reserved_bytes(DIGEST) >= big


def test_bytes_are_synced_in_groups_and_at_the_end(folders):
    appended = []

    class Counting(Disk):
        def append(self, fd, data, path):
            appended.append(len(data) // 4)
            super().append(fd, data, path)

    disk = Counting()
    store = Uploads(folders / "partial", Blobs(folders / "blobs", disk), disk, sync_every_bytes=300)
    store.offer(DIGEST, len(DATA), CHUNKS)
    store.write(DIGEST, [piece(i) for i in range(10)])
    assert appended == [3, 3, 3, 1]


def test_an_upload_that_was_not_offered_is_refused(folders):
    with pytest.raises(StateError, match="was not offered"):
        uploads(folders).write(DIGEST, [piece(0)])


def test_an_upload_that_was_dropped_under_way_is_refused_and_leaves_nothing(folders):
    store = uploads(folders)
    store.offer(DIGEST, len(DATA), CHUNKS)

    def pieces():
        yield piece(0)
        store.drop(DIGEST)

    with pytest.raises(StateError, match="withdrawn"):
        store.write(DIGEST, pieces())
    assert list((folders / "partial").iterdir()) == []


@pytest.mark.parametrize(
    ("chunks", "why"),
    [
        (((0, 10), (11, 10)), "chunk 1 starts at 11, expected 10"),
        (((0, 10), (5, 16)), "chunk 1 starts at 5"),
        (((1, 20),), "chunk 0 starts at 1"),
        (((0, 0), (0, 21)), "chunk 0 has 0 bytes"),
        (((0, CHUNK_SIZE_BYTES + 1),), "allowed: 1 to"),
        (((0, 20),), "cover 20 bytes of a blob of 21"),
        ((), "cover 0 bytes"),
    ],
)
def test_a_chunk_list_that_does_not_cover_the_blob_is_refused(chunks, why):
    with pytest.raises(BundleError, match=why):
        check_chunks(21, tuple(Chunk(offset, size, "") for offset, size in chunks))


@given(st.lists(st.tuples(st.integers(-5, 50), st.integers(-5, 50)), max_size=6), st.integers(-5, 200))
def test_an_accepted_chunk_list_covers_every_byte_once(pairs, size):
    chunks = tuple(Chunk(offset, length, "") for offset, length in pairs)
    try:
        check_chunks(size, chunks)
    except BundleError:
        return
    covered = [at for chunk in chunks for at in range(chunk.offset, chunk.offset + chunk.size_bytes)]
    assert covered == list(range(size))
