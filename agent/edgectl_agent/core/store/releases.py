"""Release directories and the two links that say which is installed.

`releases/<hex>/` holds the files of a release at their paths, hard-linked from the blobs, beside its
manifest; it appears whole, by one rename. `current` and `previous` are relative links into it, each swapped by
a rename. `Links` is what they say, as a value.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from edgectl_agent.core.store.atomic import TEMPORARY_PREFIX, Disk, digests_in, disk_error, room
from edgectl_agent.core.store.blobs import Blobs
from edgectl_agent.core.store.layout import Layout
from edgectl_protos.domain.artifact import Digest, safe_path
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest
from edgectl_protos.domain.errors import BundleError

__all__ = ["Links", "Releases"]


@dataclass(frozen=True, slots=True)
class Links:
    """The installed release and the one before it."""

    current: Digest | None = None
    previous: Digest | None = None

    def activated(self, release: Digest) -> Links:
        """After the installation of a release. Installing what is installed changes nothing."""
        return self if release == self.current else Links(release, self.current)

    def swapped(self) -> Links:
        """After a rollback."""
        return Links(self.previous, self.current)


class Releases:
    """The release directories of one agent."""

    def __init__(self, layout: Layout, blobs: Blobs, disk: Disk) -> None:
        self._layout = layout
        self._blobs = blobs
        self._disk = disk

    def open(self) -> None:
        """Move what stands in the place of a link, and is none to a release, out of the way."""
        for link in (self._layout.current, self._layout.previous):
            if os.path.lexists(link) and self._read(link) is None:
                self._disk.set_aside(link, self._layout.damaged, "no link to a release")

    def links(self) -> Links:
        """What is installed now.

        Raises:
            DeviceError: the disk cannot tell.
        """
        return Links(self._read(self._layout.current), self._read(self._layout.previous))

    def set_links(self, links: Links) -> None:
        """Make this installed. `previous` first: until `current` changes, nothing has happened."""
        self._set(self._layout.previous, links.previous)
        self._set(self._layout.current, links.current)

    def lay_out(self, release: Digest, manifest: Manifest) -> None:
        """Make the directory of a release from verified blobs; mend it if it is there but altered."""
        final = self._layout.release(release)
        entries = _entries(release, manifest)
        if final.is_dir() and not final.is_symlink():
            self._mend(final, entries)
            return
        self._disk.remove_tree(final)
        temporary = final.with_name(TEMPORARY_PREFIX + final.name)
        self._disk.sweep(self._layout.releases)
        folders = {temporary}
        with room(final):
            temporary.mkdir(mode=0o755)
            for path, digest in entries:
                target = temporary / safe_path(path)
                target.parent.mkdir(parents=True, exist_ok=True)
                # Every folder between the file and the release holds a name that must be durable.
                folders.update(p for p in target.parents if p.is_relative_to(temporary))
                os.link(self._blobs.path(digest), target)
            for folder in folders:
                # Whatever the umask of the daemon: workers read it as another user.
                folder.chmod(0o755)
                self._disk.sync_directory(folder)
        self._disk.publish(temporary, final)

    def whole(self, release: Digest, manifest: Manifest) -> bool:
        """Whether every file of a release is in its directory and is the blob that it should be."""
        final = self._layout.release(release)
        return all(
            _is_same(final / safe_path(path), self._blobs.path(digest)) for path, digest in _entries(release, manifest)
        )

    def wrong(self, release: Digest, manifest: Manifest, *, read: bool) -> tuple[str, ...]:
        """Paths of a release that are missing or altered in its directory; without `read`, as far as can be told
        without reading them.
        """
        final = self._layout.release(release)
        return tuple(
            path
            for path, digest in _entries(release, manifest)
            if not self._blobs.holds(final / safe_path(path), digest, read=read)
        )

    def listing(self) -> set[Digest]:
        """All release directories."""
        return set(digests_in(self._layout.releases))

    def remove(self, release: Digest) -> None:
        """Remove the directory of a release that is not linked."""
        self._disk.remove_tree(self._layout.release(release))

    def _mend(self, final: Path, entries: list[tuple[str, Digest]]) -> None:
        for path, digest in entries:
            target, blob = final / safe_path(path), self._blobs.path(digest)
            if _is_same(target, blob):
                continue
            # Not beside the file: what a kill leaves must lie where the next start sweeps.
            temporary = self._layout.releases / (TEMPORARY_PREFIX + target.name)
            with room(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.unlink(missing_ok=True)
                os.link(blob, temporary)
            self._disk.publish(temporary, target)

    def _set(self, link: Path, release: Digest | None) -> None:
        if release is None:
            self._disk.remove(link)
        elif self._read(link) != release:
            self._disk.point(link, f"releases/{release.hex}")

    @staticmethod
    def _read(link: Path) -> Digest | None:
        try:
            return Digest(Path(os.readlink(link)).name)
        except (FileNotFoundError, BundleError):
            return None
        except OSError as exc:
            # Something that is no link.
            if exc.errno == errno.EINVAL:
                return None
            raise disk_error(exc, link, "reading") from exc


def _entries(release: Digest, manifest: Manifest) -> list[tuple[str, Digest]]:
    return [(MANIFEST_NAME, release)] + [(entry.path, entry.digest) for entry in manifest.files]


def _is_same(path: Path, blob: Path) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.lstat(blob))
    except OSError:
        return False
