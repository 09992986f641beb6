"""Whether a release on a device's disk is what its manifest says, byte by byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest

__all__ = ["damage_of"]


def damage_of(release: Path) -> str:
    """What of a release's folder, or of a link to it, is not whole; empty when all is."""
    folder = release.resolve()
    if not folder.is_dir():
        return f"{release} is not there"
    data = (folder / MANIFEST_NAME).read_bytes()
    if hashlib.sha256(data).hexdigest() != folder.name:
        return f"the manifest of {folder.name} is altered"
    for entry in from_bytes(Manifest, data, what=MANIFEST_NAME).files:
        if hashlib.sha256((folder / entry.path).read_bytes()).hexdigest() != entry.digest.hex:
            return f"{entry.path} of {folder.name} is altered"
    return ""
