"""Bytes of releases: presence, room, verification, collection."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.store.blobs import digest_of
from edgectl_agent.core.store.releases import Links
from edgectl_agent.core.store.store import Store, parse_manifest
from edgectl_agent.core.store.upload import SyncRule
from edgectl_protos.codec.document import canonical_bytes, to_document
from edgectl_protos.domain.bundle import MANIFEST_NAME
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundleError,
    BundlePathError,
    DiskFullError,
    NotFoundError,
)
from edgectl_testkit.raw_client import chunks_of
from edgectl_testkit.stub_bundles import stub_bundle


@pytest.fixture
def store(layout):
    return Store(layout, Disk(), reserve_bytes=0, sync_rule=SyncRule(1 << 20, 1.0))


@pytest.fixture
def install(store, tmp_path):
    """Put a release's blobs and directory into the store; its digest and manifest."""

    def make(name):
        bundle = stub_bundle(tmp_path / name, name=name)
        data = (bundle / MANIFEST_NAME).read_bytes()
        manifest = parse_manifest(data)
        release = store.blobs.add(data)
        for entry in manifest.files:
            store.blobs.add((bundle / "blobs/sha256" / entry.digest.hex).read_bytes())
        store.releases.lay_out(release, manifest)
        return release, manifest

    return make


def test_a_release_directory_holds_the_verified_bytes_at_their_paths(store, install, layout):
    release, manifest = install("v1")
    for entry in manifest.files:
        assert digest_of((layout.release(release) / entry.path).read_bytes()) == entry.digest
    assert digest_of((layout.release(release) / MANIFEST_NAME).read_bytes()) == release
    assert store.releases.whole(release, manifest)


def test_altered_bytes_are_found_named_and_dropped_so_that_they_are_asked_for_again(store, install):
    release, manifest = install("v1")
    entry = manifest.file("components/full/model.bin")
    path = store.blobs.path(entry.digest)
    path.chmod(0o600)
    path.write_bytes(b"X" + path.read_bytes()[1:])
    with pytest.raises(BundleCorruptError, match=r"components/full/model\.bin"):
        store.verify(release, manifest)
    assert store.missing(manifest) == (entry,)


def test_a_mended_blob_replaces_the_altered_file_of_the_release(store, install, layout, tmp_path):
    release, manifest = install("v1")
    entry = manifest.file("components/full/model.bin")
    path = store.blobs.path(entry.digest)
    path.chmod(0o600)
    path.write_bytes(b"altered")
    store.drop_altered(release, manifest)
    assert not store.releases.whole(release, manifest)
    store.blobs.add((tmp_path / "v1/blobs/sha256" / entry.digest.hex).read_bytes())
    store.releases.lay_out(release, manifest)
    assert digest_of((layout.release(release) / "components/full/model.bin").read_bytes()) == entry.digest


def test_a_mend_that_is_cut_short_leaves_nothing_after_the_next_start(store, install, layout, monkeypatch):
    release, manifest = install("v1")
    entry = manifest.file("components/full/model.bin")
    (layout.release(release) / entry.path).unlink()

    def cut(*paths):
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(Disk, "publish", cut)
        with pytest.raises(InterruptedError):
            store.releases.lay_out(release, manifest)
    assert list(layout.root.rglob(".tmp-*"))
    store.open()
    assert not list(layout.root.rglob(".tmp-*"))
    store.releases.lay_out(release, manifest)
    assert store.releases.whole(release, manifest)


def test_collecting_keeps_what_is_linked_and_removes_all_else(store, install, layout):
    one, m1 = install("v1")
    two, m2 = install("v2")
    three, m3 = install("v3")
    store.releases.set_links(Links(two, one))
    store.uploads.offer(digest_of(b"abc"), chunks_of(b"abc"), holder="d", going_on=lambda: None)
    store.collect(store.releases.links())
    assert store.releases.listing() == {one, two}
    assert store.missing(m1) == store.missing(m2) == ()
    shared = {entry.digest for entry in (*m1.files, *m2.files)}
    assert {e.digest for e in store.missing(m3)} == {e.digest for e in m3.files} - shared
    assert not store.blobs.has(three)
    assert list(layout.partial.iterdir()) == []


def test_collecting_keeps_further_releases_if_told_but_makes_room_with_them(store, install):
    one, _ = install("v1")
    two, m2 = install("v2")
    store.releases.set_links(Links(two, None))
    store.collect(store.releases.links(), (one, digest_of(b"never here")))
    assert store.releases.listing() == {one, two}
    store.collect(store.releases.links())
    assert store.releases.listing() == {two}
    assert store.missing(m2) == ()


def test_nothing_is_collected_while_the_manifest_of_a_linked_release_is_unreadable(store, install, caplog):
    one, _ = install("v1")
    two, _ = install("v2")
    store.releases.set_links(Links(one, None))
    path = store.blobs.path(one)
    path.chmod(0o600)
    path.write_bytes(b"?")
    store.collect(store.releases.links())
    assert store.releases.listing() == {one, two}
    assert "nothing is collected" in caplog.text


def test_a_release_without_room_is_refused_with_both_numbers(layout, tmp_path):
    store = Store(layout, Disk(), reserve_bytes=1 << 60, sync_rule=SyncRule(1, 1.0))
    data = (stub_bundle(tmp_path / "b") / MANIFEST_NAME).read_bytes()
    with pytest.raises(DiskFullError, match=r"needs 1,\d{3} bytes more; [\d,]+ are free"):
        store.reserve(digest_of(data), parse_manifest(data), Links())


def test_room_is_made_of_what_nobody_needs_before_a_release_is_refused(layout, tmp_path):
    store = Store(layout, Disk(), reserve_bytes=1 << 60, sync_rule=SyncRule(1, 1.0))
    litter = store.blobs.add(b"of a failed deployment")
    data = (stub_bundle(tmp_path / "b") / MANIFEST_NAME).read_bytes()
    manifest = parse_manifest(data)
    coming = store.blobs.add((tmp_path / "b/blobs/sha256" / manifest.files[0].digest.hex).read_bytes())
    with pytest.raises(DiskFullError):
        store.reserve(digest_of(data), manifest, Links())
    assert not store.blobs.has(litter)
    assert store.blobs.has(coming)


def test_an_offer_of_another_size_than_the_manifest_says_is_refused(store, tmp_path):
    manifest = parse_manifest((stub_bundle(tmp_path / "b") / MANIFEST_NAME).read_bytes())
    with pytest.raises(BundleError, match="the manifest says"):
        store.offer(manifest.files[0], chunks_of(b"abc"), holder="d", going_on=lambda: None)


def test_a_blob_of_another_release_is_not_found(store, tmp_path):
    manifest = parse_manifest((stub_bundle(tmp_path / "b") / MANIFEST_NAME).read_bytes())
    with pytest.raises(NotFoundError):
        store.entry(manifest, digest_of(b"abc"))


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../b", "a\\b", "", "a//b", "./a"])
def test_a_path_that_leaves_the_release_is_refused(tmp_path, path):
    document = json.loads((stub_bundle(tmp_path) / MANIFEST_NAME).read_bytes())
    document["files"].append(document["files"][0] | {"path": path})
    with pytest.raises(BundlePathError):
        parse_manifest(json.dumps(document).encode())


@pytest.mark.parametrize("path", [MANIFEST_NAME, f"{MANIFEST_NAME}/x", "stub.json/x"])
def test_a_path_that_cannot_be_laid_out_is_refused(tmp_path, path):
    document = json.loads((stub_bundle(tmp_path) / MANIFEST_NAME).read_bytes())
    document["files"].append(document["files"][0] | {"path": path})
    with pytest.raises(BundlePathError):
        parse_manifest(json.dumps(document).encode())


def test_a_blob_of_two_sizes_is_refused(tmp_path):
    manifest = parse_manifest((stub_bundle(tmp_path) / MANIFEST_NAME).read_bytes())
    first = manifest.files[0]
    twin = replace(first, path="other", size_bytes=first.size_bytes + 1)
    document = to_document(manifest)
    document["files"].append(to_document(twin))
    with pytest.raises(BundleError, match="two sizes"):
        parse_manifest(canonical_bytes(document))


def test_links_are_values():
    one, two = digest_of(b"1"), digest_of(b"2")
    assert Links().activated(one) == Links(one, None)
    assert Links(one, None).activated(two) == Links(two, one)
    assert Links(two, one).activated(two) == Links(two, one)
    assert Links(two, one).swapped() == Links(one, two)
