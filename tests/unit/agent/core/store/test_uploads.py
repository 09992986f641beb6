"""Uploads side by side: offered, named, ended, dropped."""

from __future__ import annotations

import os

import pytest

from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.store.blobs import digest_of
from edgectl_protos.domain.errors import BundleCorruptError, DiskFullError, StateError
from edgectl_testkit.raw_client import chunks_of
from edgectl_testkit.upload_folders import ALL, DATA, DIGEST, SIZE, folders_in, missing, offer, put, uploads


@pytest.fixture
def folders(tmp_path):
    return folders_in(tmp_path)


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


def test_an_upload_that_was_not_offered_is_refused(folders):
    store = uploads(folders)
    with pytest.raises(StateError, match="not offered"):
        store.commit(DIGEST)
    with pytest.raises(StateError, match="no such upload"):
        store.named(bytes(16))


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
