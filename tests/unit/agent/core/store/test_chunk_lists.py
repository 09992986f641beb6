"""Lists of chunks on the disk, and where a chunk is found."""

from __future__ import annotations

from array import array
from pathlib import Path

from edgectl_agent.core.store import chunk_lists
from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.store.chunk_lists import ChunkLists, Listed, Place, find
from edgectl_protos.codec.transfer import chunk_digest
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.chunks import MIN_CHUNK_BYTES, ChunkList
from edgectl_testkit.raw_client import chunks_of

SIZE = MIN_CHUNK_BYTES
NAME = Digest("ab" * 32)
HERE, THERE = Path("here"), Path("there")


def of(*words: str) -> ChunkList:
    """A list of chunks of these contents, by name."""
    return ChunkList(array("I", [SIZE] * len(words)), b"".join(chunk_digest(word.encode()) for word in words))


def test_a_list_is_kept_read_and_forgotten(tmp_path):
    lists = ChunkLists(tmp_path, Disk())
    lists.save(NAME, of("a", "b"))
    assert list(lists) == [NAME]
    assert ChunkLists(tmp_path, Disk()).read(NAME) == of("a", "b")
    lists.drop(NAME)
    assert lists.read(NAME) is None
    assert list(lists) == []


def test_a_blob_of_one_chunk_needs_no_list(tmp_path):
    lists = ChunkLists(tmp_path, Disk())
    lists.save(NAME, chunks_of(b"small"))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_list_is_removed_and_learned_again(tmp_path):
    lists = ChunkLists(tmp_path, Disk())
    lists.save(NAME, of("a", "b"))
    path = tmp_path / NAME.hex
    path.write_bytes(b"?" + path.read_bytes()[1:])
    assert lists.read(NAME) is None
    assert not path.exists()
    lists.save(NAME, of("a", "b"))
    assert lists.read(NAME) == of("a", "b")


def test_a_file_that_is_no_list_is_not_taken_for_one(tmp_path):
    (tmp_path / "notes.txt").write_text("?")
    assert list(ChunkLists(tmp_path, Disk())) == []


def test_chunks_are_found_in_every_file_in_the_order_in_which_they_are_wanted():
    files = [Listed(HERE, of("a", "b")), Listed(THERE, of("c", "b", "d"))]
    found = list(find(of("d", "x", "b", "c"), [0, 1, 2, 3], lambda: files))
    assert found == [(0, Place(THERE, 2 * SIZE)), (2, Place(HERE, SIZE)), (3, Place(THERE, 0))]


def test_only_wanted_chunks_are_looked_for():
    files = [Listed(HERE, of("a", "b"))]
    assert [index for index, _ in find(of("a", "b"), [1], lambda: files)] == [1]


def test_a_chunk_that_is_wanted_twice_is_found_twice():
    found = find(of("a", "x", "a"), [0, 1, 2], lambda: [Listed(HERE, of("a"))])
    assert list(found) == [(0, Place(HERE, 0)), (2, Place(HERE, 0))]


def test_what_an_unfinished_upload_lacks_is_not_found_in_it():
    files = [Listed(HERE, of("a", "b"), bytearray([0, 2])), Listed(THERE, of("a"))]
    assert list(find(of("a", "b"), [0, 1], lambda: files)) == [(0, Place(THERE, 0)), (1, Place(HERE, SIZE))]


def test_long_offers_are_looked_for_part_by_part(monkeypatch):
    monkeypatch.setattr(chunk_lists, "_WANTED_AT_ONCE", 2)
    passes = []

    def files():
        passes.append(1)
        return [Listed(HERE, of("a", "b", "c", "d", "e"))]

    found = list(find(of("e", "d", "c", "b", "a"), [0, 1, 2, 3, 4], files))
    assert [place.offset // SIZE for _, place in found] == [4, 3, 2, 1, 0]
    assert len(passes) == 3
