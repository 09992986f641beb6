"""Chunks that are on the device already: an offer copies them, and asks for the rest."""

from __future__ import annotations

import os
from array import array

import pytest

from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.store.blobs import digest_of
from edgectl_agent.core.store.chunk_lists import ChunkLists
from edgectl_agent.core.store.upload import SyncRule
from edgectl_protos.codec.transfer import chunk_digest
from edgectl_protos.domain.chunks import ChunkList
from edgectl_protos.domain.errors import StateError
from edgectl_testkit.raw_client import chunks_of
from edgectl_testkit.upload_folders import ALL, CHUNKS, DATA, DIGEST, SIZE, folders_in, missing, offer, put, uploads


@pytest.fixture
def folders(tmp_path):
    return folders_in(tmp_path)


def stored(store, data, chunks):
    upload = offer(store, data, chunks)
    put(upload, missing(upload), data)
    store.commit(digest_of(data))


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
    store = uploads(folders, rule=SyncRule(1, 1e9, lambda: 0.0))
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
