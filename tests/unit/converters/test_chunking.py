"""Chunks by content: what two files have in common comes out the same."""

from __future__ import annotations

import os
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgectl_converters import chunking
from edgectl_converters.bundle import blob_path, copy_bundle
from edgectl_converters.chunking import bundle_chunks, cut
from edgectl_protos.codec.transfer import chunk_digest
from edgectl_protos.domain.chunks import MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, ChunkList
from edgectl_protos.domain.errors import BundleCorruptError
from edgectl_testkit.stub_bundles import stub_bundle

MIB = 1 << 20


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def written(tmp_path, data: bytes):
    path = tmp_path / "blob"
    path.write_bytes(data)
    return path


def parts(chunks: ChunkList) -> set[bytes]:
    return {chunks.digest(index) for index in range(len(chunks))}


def new_bytes(old: ChunkList, new: ChunkList) -> int:
    known = parts(old)
    return sum(size for index, size in enumerate(new.sizes) if new.digest(index) not in known)


@pytest.mark.parametrize("size", [0, 1, MIN_CHUNK_BYTES, MIN_CHUNK_BYTES + 1, 3 * MIB + 7])
@pytest.mark.parametrize("data", [noise, bytes])
def test_chunks_cover_a_file_and_carry_their_digests(tmp_path, size, data):
    content = data(size)
    chunks = cut(written(tmp_path, content))
    offsets = chunks.offsets()
    assert chunks.size_bytes == size
    for index in range(len(chunks)):
        assert chunks.digest(index) == chunk_digest(content[offsets[index] : offsets[index + 1]])


def test_the_average_is_about_64_kib(tmp_path):
    chunks = cut(written(tmp_path, noise(16 * MIB)))
    assert 48 << 10 < chunks.size_bytes / len(chunks) < 96 << 10
    assert max(chunks.sizes) <= 256 << 10


def test_larger_blobs_are_cut_into_larger_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(chunking, "_AVERAGES", ((1 * MIB, 64 << 10), (4 * MIB, 256 << 10)))
    few = cut(written(tmp_path, noise(4 * MIB)))
    fewer = cut(written(tmp_path, noise(16 * MIB)))
    assert 128 << 10 < few.size_bytes / len(few) < 512 << 10
    assert 256 << 10 < fewer.size_bytes / len(fewer) <= MAX_CHUNK_BYTES


def test_bytes_that_are_inserted_cost_a_chunk_or_two(tmp_path):
    data = noise(8 * MIB)
    old = cut(written(tmp_path, data))
    for at in (9, 4 * MIB, 8 * MIB):
        new = cut(written(tmp_path, data[:at] + b"x" * 100 + data[at:]))
        assert new_bytes(old, new) < 600 << 10


def test_a_changed_tensor_costs_itself_and_nothing_beside_it(tmp_path):
    data = noise(8 * MIB)
    edges = [3 * MIB + 11, 5 * MIB + 5]
    old = cut(written(tmp_path, data), edges)
    other = data[: edges[0]] + noise(edges[1] - edges[0], 1) + data[edges[1] :]
    assert new_bytes(old, cut(written(tmp_path, other), edges)) == edges[1] - edges[0]


def test_a_tensor_is_cut_alike_wherever_it_lies(tmp_path):
    tensor = noise(2 * MIB)
    one = cut(written(tmp_path, noise(MIB, 1) + tensor + noise(MIB, 2)), [MIB, 3 * MIB])
    two = cut(written(tmp_path, noise(777_777, 3) + tensor), [777_777])
    assert sum(one.sizes) - new_bytes(two, one) == len(tensor)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-5, 700_000), max_size=30), st.integers(0, 600_000), st.booleans())
def test_any_edges_give_chunks_within_the_bounds(tmp_path_factory, edges, size, zeros):
    path = tmp_path_factory.mktemp("cut") / "blob"
    path.write_bytes(bytes(size) if zeros else noise(size))
    # A ChunkList that exists is within its bounds.
    assert cut(path, edges).size_bytes == size


def test_small_tensors_share_a_chunk(tmp_path):
    edges = list(range(0, MIB, 1000))
    chunks = cut(written(tmp_path, noise(MIB)), edges)
    assert len(chunks) < MIB / MIN_CHUNK_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("size", [2**31 + 1, 2**32 + 1])
def test_sparse_files_beyond_what_32_bits_count(tmp_path, size):
    path = written(tmp_path, b"")
    os.truncate(path, size)
    with path.open("r+b") as file:
        file.seek(size - 1)
        file.write(b"x")
    chunks = cut(path, [2**31, 2**32])
    assert chunks.size_bytes == size
    assert 2**31 in set(chunks.offsets())
    assert len(chunks) < 20_000


@pytest.fixture
def bundle(tmp_path):
    folder = stub_bundle(tmp_path / "bundle", extra={"weights.bin": noise(MIB)})
    from edgectl_converters.bundle import read_manifest

    manifest, _ = read_manifest(folder)
    return folder, manifest, manifest.file("weights.bin")


def test_a_blob_is_cut_once_and_its_chunks_are_kept_beside_it(bundle, monkeypatch, tmp_path):
    folder, manifest, entry = bundle
    first = bundle_chunks(folder, manifest, entry)
    assert first == cut(blob_path(folder, entry.digest))
    monkeypatch.setattr(chunking, "cut", None)
    assert bundle_chunks(folder, manifest, entry) == first
    copy_bundle(folder, tmp_path / "copy")
    assert bundle_chunks(tmp_path / "copy", manifest, entry) == first


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b"?" + b[1:]])
def test_a_damaged_list_is_made_anew(bundle, damage):
    folder, manifest, entry = bundle
    first = bundle_chunks(folder, manifest, entry)
    kept = folder / "chunks" / entry.digest.hex
    kept.write_bytes(damage(kept.read_bytes()))
    assert bundle_chunks(folder, manifest, entry) == first


def test_a_list_that_is_older_than_its_blob_is_made_anew(bundle):
    folder, manifest, entry = bundle
    bundle_chunks(folder, manifest, entry)
    blob = blob_path(folder, entry.digest)
    blob.write_bytes(noise(MIB, 5))
    os.utime(folder / "chunks" / entry.digest.hex, ns=(0, 0))
    assert bundle_chunks(folder, manifest, entry) == cut(blob)


def test_a_bundle_that_may_not_be_written_is_cut_all_the_same(bundle):
    folder, manifest, entry = bundle
    (folder / "chunks").write_text("in the way")
    assert bundle_chunks(folder, manifest, entry).size_bytes == MIB


def test_a_list_that_cannot_be_kept_leaves_nothing_behind(bundle):
    folder, manifest, entry = bundle
    kept = folder / "chunks" / entry.digest.hex
    kept.mkdir(parents=True)
    assert bundle_chunks(folder, manifest, entry).size_bytes == MIB
    assert list(kept.parent.iterdir()) == [kept]


def test_a_blob_that_is_gone_is_named(bundle):
    folder, manifest, entry = bundle
    blob_path(folder, entry.digest).unlink()
    with pytest.raises(BundleCorruptError, match=r"weights\.bin cannot be read"):
        bundle_chunks(folder, manifest, replace(entry))


def test_safetensors_are_cut_at_their_tensors(tmp_path):
    from safetensors.numpy import save

    rng = np.random.default_rng(0)
    tensors = {name: rng.standard_normal(size).astype(np.float32) for name, size in (("a", 90_000), ("b", 120_001))}
    from edgectl_converters.tensor_cuts import tensor_cuts

    one = written(tmp_path, save(tensors))
    old = cut(one, tensor_cuts(one))
    changed = tensors | {"a": tensors["a"] + 1}
    two = written(tmp_path, save(changed, metadata={"a longer": "header"}))
    new = cut(two, tensor_cuts(two))
    assert sum(new.sizes) - new_bytes(old, new) == tensors["b"].nbytes
