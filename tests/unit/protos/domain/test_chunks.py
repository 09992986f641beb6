"""Chunk lists that exist are within their bounds."""

from __future__ import annotations

import itertools
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_protos.domain.chunks import (
    CHUNK_DIGEST_BYTES,
    MAX_CHUNK_BYTES,
    MAX_CHUNKS,
    MIN_CHUNK_BYTES,
    ChunkList,
)
from edgectl_protos.domain.errors import BundleError


def listed(*sizes: int) -> ChunkList:
    return ChunkList(array("I", sizes), bytes(CHUNK_DIGEST_BYTES * len(sizes)))


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        ((MIN_CHUNK_BYTES - 1, 5), "a chunk of 5 bytes is shorter"),
        ((MIN_CHUNK_BYTES, 0), "a chunk of 0 bytes is shorter"),
        ((MAX_CHUNK_BYTES + 1,), "longer than 1,048,576"),
    ],
)
def test_a_chunk_out_of_bounds_is_refused(sizes, why):
    with pytest.raises(BundleError, match=why):
        listed(*sizes)


def test_only_the_last_chunk_may_be_short():
    assert listed(MIN_CHUNK_BYTES, 1).size_bytes == MIN_CHUNK_BYTES + 1
    assert listed(1).size_bytes == 1
    assert listed().size_bytes == 0


def test_more_chunks_than_a_blob_may_have_are_refused():
    with pytest.raises(BundleError, match="more than 65,536"):
        listed(*[MIN_CHUNK_BYTES] * (MAX_CHUNKS + 1))


def test_each_chunk_has_a_digest():
    with pytest.raises(BundleError, match="1 chunks have 15 bytes of digests"):
        ChunkList(array("I", [7]), bytes(15))


@given(st.lists(st.integers(MIN_CHUNK_BYTES, MAX_CHUNK_BYTES), max_size=8), st.integers(1, MIN_CHUNK_BYTES))
def test_offsets_lie_one_behind_the_other_and_end_with_the_blob(sizes, last):
    chunks = listed(*sizes, last)
    offsets = chunks.offsets()
    assert [b - a for a, b in itertools.pairwise(offsets)] == list(chunks.sizes)
    assert (offsets[0], offsets[-1]) == (0, chunks.size_bytes)
