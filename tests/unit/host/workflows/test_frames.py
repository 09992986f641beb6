"""Frames of what a device lacks."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_host.workflows.frames import frames_of
from edgectl_protos.codec.transfer import FRAME_BYTES, bitmap_from, frame_from_bytes, missing_in
from edgectl_protos.domain.chunks import MIN_CHUNK_BYTES
from edgectl_protos.domain.errors import BundleCorruptError
from edgectl_testkit.raw_client import chunks_of

UPLOAD = bytes(range(16))
DATA = os.urandom(100 * MIN_CHUNK_BYTES + 9)
CHUNKS = chunks_of(DATA, size_bytes=MIN_CHUNK_BYTES)


@pytest.fixture(scope="module")
def blob(tmp_path_factory):
    path = tmp_path_factory.mktemp("frames") / "blob"
    path.write_bytes(DATA)
    with path.open("rb") as file:
        yield file


@given(st.sets(st.integers(0, 100)), st.integers(1, FRAME_BYTES))
def test_frames_hold_every_missing_chunk_once_and_nothing_else(blob, here, frame_bytes):
    missing = missing_in(bitmap_from(bytes(index in here for index in range(101))), 101)
    offsets, sent = CHUNKS.offsets(), []
    for data in frames_of(blob.fileno(), CHUNKS, missing, UPLOAD, frame_bytes=frame_bytes):
        frame = frame_from_bytes(data)
        assert frame.upload == UPLOAD
        assert frame.body == DATA[offsets[frame.first] : offsets[frame.first + frame.count]]
        assert frame.count == 1 or len(frame.body) <= frame_bytes
        sent += range(frame.first, frame.first + frame.count)
    assert sent == [index for index in range(101) if index not in here]


def test_neighbours_share_a_frame(blob):
    frames = list(frames_of(blob.fileno(), CHUNKS, (range(101),), UPLOAD, frame_bytes=FRAME_BYTES))
    assert len(frames) == -(-len(DATA) // FRAME_BYTES)


def test_a_file_that_became_shorter_is_named_and_not_sent(tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(DATA[:-1])
    with path.open("rb") as file, pytest.raises(BundleCorruptError, match="ends after 1,638,408 of 1,638,409 bytes"):
        list(frames_of(file.fileno(), CHUNKS, (range(100, 101),), UPLOAD, frame_bytes=FRAME_BYTES))
