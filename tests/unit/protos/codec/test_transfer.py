"""What an upload puts on the wire: everything comes back, and anything else is one of our errors."""

from __future__ import annotations

import itertools
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_protos.codec.transfer import (
    FRAME_BYTES,
    FRAME_HEADER_BYTES,
    MAX_CHUNK_LIST_BYTES,
    UPLOAD_BYTES,
    bitmap_from,
    chunk_digest,
    chunks_from_bytes,
    chunks_to_bytes,
    frame_from_bytes,
    frame_header,
    missing_in,
)
from edgectl_protos.domain.chunks import CHUNK_DIGEST_BYTES, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, ChunkList
from edgectl_protos.domain.errors import BundleError, ProtocolError

chunk_lists = st.builds(
    lambda sizes, last, salt: ChunkList(
        array("I", [*sizes, last]), b"".join(chunk_digest(bytes([salt, i])) for i in range(len(sizes) + 1))
    ),
    st.lists(st.integers(MIN_CHUNK_BYTES, MAX_CHUNK_BYTES), max_size=6),
    st.integers(1, MAX_CHUNK_BYTES),
    st.integers(0, 255),
)


@given(chunk_lists)
def test_a_chunk_list_comes_back(chunks):
    assert chunks_from_bytes(chunks_to_bytes(chunks)) == chunks


def test_a_chunk_list_is_written_in_one_way_on_every_machine():
    packed = chunks_to_bytes(ChunkList(array("I", [MIN_CHUNK_BYTES, 258]), bytes(range(32))))
    assert packed[:20] == b"edgchnk1" + bytes([2, 0, 0, 0]) + bytes([0, 0x40, 0, 0, 2, 1, 0, 0])
    assert packed[20:52] == bytes(range(32))
    assert len(packed) == 52 + CHUNK_DIGEST_BYTES


@given(chunk_lists, st.data())
def test_a_chunk_list_that_was_altered_anywhere_is_refused(chunks, data):
    packed = bytearray(chunks_to_bytes(chunks))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BundleError):
        chunks_from_bytes(bytes(packed))


@given(chunk_lists, st.data())
def test_a_chunk_list_that_was_cut_short_or_made_longer_is_refused(chunks, data):
    packed = chunks_to_bytes(chunks)
    with pytest.raises(BundleError):
        chunks_from_bytes(packed[: data.draw(st.integers(0, len(packed) - 1))])
    with pytest.raises(BundleError):
        chunks_from_bytes(packed + data.draw(st.binary(min_size=1, max_size=40)))


@given(st.binary(max_size=200))
def test_any_other_bytes_are_no_chunk_list(data):
    with pytest.raises(BundleError):
        chunks_from_bytes(data)


def test_a_list_that_claims_more_chunks_than_there_may_be_is_refused_before_anything_is_allocated():
    with pytest.raises(BundleError, match="no chunk list of 4,294,967,295"):
        chunks_from_bytes(b"edgchnk1" + b"\xff" * 4 + bytes(100))


def test_the_longest_chunk_list_fits_into_one_message():
    assert MAX_CHUNK_LIST_BYTES < (2 << 20) - 1024


@given(st.binary(min_size=UPLOAD_BYTES, max_size=UPLOAD_BYTES), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_frame_comes_back(upload, first, count):
    frame = frame_from_bytes(frame_header(upload, first, count) + b"body")
    assert (frame.upload, frame.first, frame.count, bytes(frame.body)) == (upload, first, count, b"body")


@given(st.binary(max_size=60))
def test_any_bytes_are_a_frame_or_refused(data):
    try:
        frame = frame_from_bytes(data)
    except ProtocolError:
        assert len(data) <= FRAME_HEADER_BYTES
    else:
        assert frame_header(frame.upload, frame.first, frame.count) + frame.body == data


def test_a_frame_that_is_too_long_is_refused():
    head = frame_header(bytes(UPLOAD_BYTES), 0, 1)
    frame_from_bytes(head + bytes(FRAME_BYTES))
    with pytest.raises(ProtocolError, match="1,048,601 bytes"):
        frame_from_bytes(head + bytes(FRAME_BYTES + 1))


@given(st.lists(st.booleans(), max_size=70))
def test_a_bitmap_tells_what_is_missing(flags):
    missing = missing_in(bitmap_from(bytes(flags)), len(flags))
    assert [index for part in missing for index in part] == [i for i, flag in enumerate(flags) if not flag]
    # Stretches are as long as they can be.
    assert all(a.stop < b.start for a, b in itertools.pairwise(missing))


@given(st.binary(max_size=20), st.integers(0, 200))
def test_any_bytes_are_a_bitmap_of_so_many_or_refused(bitmap, count):
    try:
        missing = missing_in(bitmap, count)
    except ProtocolError:
        assert len(bitmap) != -(-count // 8)
    else:
        assert all(0 <= part.start < part.stop <= count for part in missing)


def test_digests_of_half_the_length_name_a_chunk():
    assert len(chunk_digest(b"x")) == CHUNK_DIGEST_BYTES
