"""All bytes of releases: what is here, what is missing, whether it fits, and what may go.

A blob or release is collected only when neither a link nor the deployment in flight needs it, and nothing is
collected while the manifest of a linked release cannot be read. A manifest is itself a blob: its sha256 is
the release digest.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath

from edgectl_agent.core.store.atomic import Disk, room
from edgectl_agent.core.store.blobs import Blobs
from edgectl_agent.core.store.chunk_lists import ChunkLists
from edgectl_agent.core.store.derived import Derived
from edgectl_agent.core.store.layout import Layout
from edgectl_agent.core.store.releases import Links, Releases
from edgectl_agent.core.store.upload import SyncRule, Upload
from edgectl_agent.core.store.uploads import Uploads
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import Digest, FileEntry
from edgectl_protos.domain.bundle import MANIFEST_NAME, MAX_MANIFEST_BYTES, Component, Manifest
from edgectl_protos.domain.chunks import ChunkList
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundleError,
    BundlePathError,
    DiskFullError,
    EdgectlError,
    NotFoundError,
)
from edgectl_protos.worker.derived import source_of

__all__ = ["Store", "build_bytes", "parse_manifest"]

_LOG = logging.getLogger(__name__)

_MAX_LOOP_BYTES = 1 << 20
"""It is read whole."""
_SHOWN = 3


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        BundleError: it is not one, or its parts do not belong together.
        BundlePathError: a path of it leaves the release.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleError(
            f"the manifest has {len(data):,} bytes; no release that edgectl writes has more than "
            f"{MAX_MANIFEST_BYTES:,}",
            hint="convert the checkpoint again: edgectl convert",
        )
    manifest = from_bytes(Manifest, data, what=MANIFEST_NAME)
    sizes: dict[Digest, int] = {}
    for entry in manifest.files:
        if sizes.setdefault(entry.digest, entry.size_bytes) != entry.size_bytes:
            raise BundleError(f"bundle gives blob {entry.digest.short} two sizes")
    files = {MANIFEST_NAME, *(entry.path for entry in manifest.files)}
    if len(files) != len(manifest.files) + 1:
        raise BundlePathError(f"bundle lists {MANIFEST_NAME!r}, which is the place of its own manifest")
    for path in files:
        inside = next((str(parent) for parent in PurePosixPath(path).parents if str(parent) in files), None)
        if inside is not None:
            raise BundlePathError(f"bundle lists {inside!r} as a file and {path!r} inside it")
    return manifest


def build_bytes(component: Component, manifest: Manifest) -> int:
    """What is built from a component will take about: as much as what it is built from."""
    folder = f"{component.folder}/"
    return sum(entry.size_bytes for entry in manifest.files if entry.path.startswith(folder))


class Store:
    """Blobs, uploads and releases of one agent."""

    def __init__(self, layout: Layout, disk: Disk, *, reserve_bytes: int, sync_rule: SyncRule) -> None:
        self._layout = layout
        self._disk = disk
        self._reserve_bytes = reserve_bytes
        self.blobs = Blobs(layout.blobs, disk)
        self.chunk_lists = ChunkLists(layout.chunks, disk)
        self.uploads = Uploads(layout.partial, self.blobs, self.chunk_lists, disk, sync_rule)
        self.releases = Releases(layout, self.blobs, disk)
        self.derived = Derived(layout.derived, disk)

    def open(self) -> None:
        """Remove what an interrupted change left, and put aside what is damaged. Only before anything else works."""
        layout = self._layout
        for folder in (layout.root, layout.blobs, layout.chunks, layout.partial, layout.releases, layout.derived):
            self._disk.sweep(folder)
        self.releases.open()

    def manifest(self, release: Digest) -> Manifest:
        """The manifest of a release that is stored here.

        Raises:
            NotFoundError: it is not.
            BundleError: it cannot be read.
        """
        return parse_manifest(self.blobs.read(release))

    def loop(self, manifest: Manifest) -> bytes:
        """The loop specification of a release that is stored here.

        Raises:
            NotFoundError: it is not.
            BundleError: it is far too long for one.
        """
        entry = manifest.file(manifest.loop)
        if entry.size_bytes > _MAX_LOOP_BYTES:
            raise BundleError(f"{entry.path} has {entry.size_bytes:,} bytes; no loop has more than {_MAX_LOOP_BYTES:,}")
        return self.blobs.read(entry.digest)

    def reserve(self, release: Digest, manifest: Manifest, links: Links) -> None:
        """Refuse a release for which there is no room, after removing what nobody needs.

        Raises:
            DiskFullError: how much it needs and how much there is.
        """
        with room(self._layout.root):
            # A disk that was full at the start had no room for them.
            self._layout.make()
        needed = self._needed_bytes(manifest)
        if needed + self._reserve_bytes > self.free_bytes():
            self._collect(links, {release: manifest})
        self.check_room(needed, f"release {manifest.name!r}")

    def check_room(self, needed: int, what: str) -> None:
        """Refuse to write so many bytes more where there is no room for them.

        Raises:
            DiskFullError: how much it needs and how much there is.
        """
        free = self.free_bytes()
        if needed + self._reserve_bytes > free:
            raise DiskFullError(
                f"{what} needs {needed:,} bytes more; {free:,} are free, of which {self._reserve_bytes:,} stay in "
                "reserve",
                hint=f"free some space on the file system of {self._layout.root}, then deploy again",
            )

    def missing(self, manifest: Manifest) -> tuple[FileEntry, ...]:
        """Files whose blobs are not here, as far as can be told without reading them."""
        return tuple(entry for entry in manifest.files if not self.blobs.unchanged(entry.digest))

    def entry(self, manifest: Manifest, digest: Digest) -> FileEntry:
        """The file of a release that this blob belongs to.

        Raises:
            NotFoundError: none does.
        """
        for entry in manifest.files:
            if entry.digest == digest:
                return entry
        raise NotFoundError(f"release {manifest.name!r} has no blob {digest.short}")

    def offer(
        self, entry: FileEntry, chunks: ChunkList, *, holder: str, going_on: Callable[[], object]
    ) -> Upload | None:
        """None when a blob is complete here; else its upload, which has all that this device could find of it.

        Raises:
            BundleError: the chunks do not cover this blob.
            DiskFullError: there is no room.
        """
        if chunks.size_bytes != entry.size_bytes:
            raise BundleError(
                f"{entry.path}: {chunks.size_bytes} bytes are offered, the manifest says {entry.size_bytes}"
            )
        if self.blobs.intact(entry.digest):
            self.chunk_lists.save(entry.digest, chunks)
            return None
        self.blobs.drop(entry.digest)
        return self.uploads.offer(entry.digest, chunks, holder=holder, going_on=going_on)

    def drop_altered(self, release: Digest, manifest: Manifest) -> tuple[str, ...]:
        """Read every blob of a release and drop those that are not what they were; paths of those."""
        wanted = {release: MANIFEST_NAME} | {entry.digest: entry.path for entry in manifest.files}
        altered = []
        for digest, path in wanted.items():
            if not self.blobs.intact(digest):
                self.blobs.drop(digest)
                altered.append(path)
        return tuple(altered)

    def verify(self, release: Digest, manifest: Manifest) -> None:
        """Look at every blob of a release.

        Raises:
            BundleCorruptError: the bytes of one are not those of its digest; it was dropped.
        """
        altered = self.drop_altered(release, manifest)
        if altered:
            raise BundleCorruptError(
                f"on the disk of the device these files are altered: {_listed(altered)}; it dropped them",
                hint="deploy again, the device asks for them anew: edgectl deploy",
            )

    def problem(self, release: Digest, manifest: Manifest | None = None, *, read: bool = True) -> str:
        """What is wrong with a release that should be on the disk, for people; empty when every file is what it was.
        Without `read`, as far as can be told from the files' inodes, times and sizes.
        """
        try:
            wrong = self.releases.wrong(release, manifest or self.manifest(release), read=read)
        except EdgectlError as exc:
            return f"its manifest cannot be read: {exc.message}"
        return f"missing or altered on the disk: {_listed(wrong)}" if wrong else ""

    def check_whole(self, release: Digest, manifest: Manifest) -> None:
        """Refuse to load a release that is not what was installed.

        Raises:
            BundleCorruptError: saying what is missing or altered.
        """
        if problem := self.problem(release, manifest):
            raise BundleCorruptError(
                f"release {release.short} is not what was installed: {problem}",
                hint="deploy it again, the device asks for what it lacks: edgectl deploy",
            )

    def collect(self, links: Links, kept: Iterable[Digest] = (), abandoned: Iterable[Digest] = ()) -> None:
        """Remove what neither a link nor one of these releases needs. Only while no deployment is in flight.

        Of `kept` the directories stay, of `abandoned` what was received of them.
        """
        coming: dict[Digest, Manifest] = {}
        for release in abandoned:
            # One that cannot be read is sent anew.
            with contextlib.suppress(OSError, EdgectlError):
                coming[release] = self.manifest(release)
        self._collect(links, coming, kept)

    def free_bytes(self) -> int:
        """Bytes that an unprivileged process could still write."""
        stats = os.statvfs(self._layout.root)
        return stats.f_bavail * stats.f_frsize

    def _needed_bytes(self, manifest: Manifest) -> int:
        sizes = {entry.digest: entry.size_bytes for entry in self.missing(manifest)}
        missing = sum(max(0, size - self.uploads.reserved_bytes(digest)) for digest, size in sizes.items())
        unbuilt = [c for c in manifest.components if c.recipe and not self.derived.has(source_of(c, manifest))]
        return missing + sum(build_bytes(component, manifest) for component in unbuilt)

    def _collect(self, links: Links, coming: Mapping[Digest, Manifest], others: Iterable[Digest] = ()) -> None:
        kept = {release for release in (links.current, links.previous) if release is not None}
        kept |= self.releases.listing() & set(others)
        needed = {entry.digest for manifest in coming.values() for entry in manifest.files} | kept | set(coming)
        staying = list(coming.values())
        for release in kept:
            try:
                staying.append(manifest := self.manifest(release))
                needed |= {entry.digest for entry in manifest.files}
            except (EdgectlError, OSError) as exc:
                # Without its manifest nobody knows which blobs a release needs: keep them all.
                _LOG.error("nothing is collected: the manifest of %s cannot be read: %s", release.short, exc)
                return
        for release in self.releases.listing() - kept:
            self.releases.remove(release)
        for digest in self.uploads.digests():
            # An upload of a complete blob is what a crash left between making it visible and forgetting it.
            if digest not in needed or self.blobs.has(digest):
                self.uploads.drop(digest)
        for digest in set(self.blobs) - needed:
            self.blobs.drop(digest)
        for digest in self.chunk_lists:
            if not self.blobs.has(digest):
                self.chunk_lists.drop(digest)
        self.derived.collect({source_of(c, manifest) for manifest in staying for c in manifest.components if c.recipe})


def _listed(paths: tuple[str, ...]) -> str:
    """The first of many paths."""
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(paths[:_SHOWN]) + more
