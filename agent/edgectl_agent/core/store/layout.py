"""Where everything of one agent lies under its state directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgectl_protos.domain.artifact import Digest

__all__ = ["Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of a state directory. All of them are on one file system, so that links and renames work."""

    root: Path

    @property
    def blobs(self) -> Path:
        """Complete, verified blobs, named by the hex of their sha256; manifests among them."""
        return self.root / "blobs" / "sha256"

    @property
    def chunks(self) -> Path:
        """Of which chunks blobs are made, by the hex of the blob."""
        return self.root / "chunks"

    @property
    def partial(self) -> Path:
        """Uploads that are not committed yet."""
        return self.root / "partial"

    @property
    def releases(self) -> Path:
        """Release directories, named by the hex of their digest."""
        return self.root / "releases"

    @property
    def derived(self) -> Path:
        """What this device built for itself, in folders named by the hex of their key."""
        return self.root / "derived"

    @property
    def builders(self) -> Path:
        """Of the agent; what is in it is of the builders."""
        return self.root / "builders"

    @property
    def builders_cache(self) -> Path:
        """What builders keep between builds to be faster; of no other meaning."""
        return self.builders / "cache"

    @property
    def deployments(self) -> Path:
        """The journal."""
        return self.root / "deployments"

    @property
    def damaged(self) -> Path:
        """What could not be read, for a person to look at."""
        return self.root / "damaged"

    @property
    def runs(self) -> Path:
        """Samples and outcomes of runs."""
        return self.root / "runs"

    @property
    def logs(self) -> Path:
        """What workers print."""
        return self.root / "logs"

    @property
    def workers(self) -> Path:
        """One file for each live worker process."""
        return self.root / "workers"

    @property
    def scratch(self) -> Path:
        """Folders of live workers, in which alone they may write."""
        return self.root / "scratch"

    @property
    def outbox(self) -> Path:
        """Events that no host has acknowledged."""
        return self.root / "outbox.jsonl"

    @property
    def trust(self) -> Path:
        """Who this device is to its fleet, what it accepted, and the audit log."""
        return self.root / "trust"

    @property
    def lock(self) -> Path:
        """Says which process owns this directory; the lock itself is on the directory."""
        return self.root / "lock"

    @property
    def current(self) -> Path:
        """Link to the installed release."""
        return self.root / "current"

    @property
    def previous(self) -> Path:
        """Link to the release before it."""
        return self.root / "previous"

    def release(self, digest: Digest) -> Path:
        """The directory of one release."""
        return self.releases / digest.hex

    @property
    def folders(self) -> tuple[Path, ...]:
        """The directories that must be there."""
        return (
            self.blobs.parent,
            self.blobs,
            self.chunks,
            self.partial,
            self.releases,
            self.derived,
            self.builders,
            self.deployments,
            self.damaged,
            self.runs,
            self.logs,
            self.workers,
            self.trust,
            self.scratch,
        )

    def make(self) -> None:
        """Create the directories that are missing."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in self.folders:
            folder.mkdir(mode=0o700, exist_ok=True)
