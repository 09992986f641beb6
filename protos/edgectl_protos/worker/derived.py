"""What a device built for itself: `<derived>/<key>/` holds the files and the stamp, and appears whole.

The key is over everything that decides the bytes: the component's files and recipe, and what the device's builder says
that its work is bound to (versions, the processor, the driver). The agent names the folder by it and the worker looks
for it when it loads, so that nothing built for another processor or version is ever opened.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.domain.artifact import Digest, FileEntry
from edgectl_protos.domain.bundle import BuildRecipe, Component, Manifest

__all__ = ["STAMP_NAME", "Stamp", "key_of", "source_of"]

STAMP_NAME = "edgectl.derived.json"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What lies in a derived folder: its files, of which the runtime opens `entry`. `source` is over what was built,
    `bound_to` what it was built for.
    """

    source: Digest
    bound_to: dict[str, str]
    entry: str
    files: tuple[FileEntry, ...]
    layers: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Source:
    runtime: str
    scheme: str
    entry: str
    recipe: BuildRecipe
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Key:
    source: Digest
    bound_to: dict[str, str]


def source_of(component: Component, manifest: Manifest) -> Digest:
    """What decides the build of a component with a recipe, the device apart; the same in any release."""
    assert component.recipe is not None, "only what has a recipe is built"
    folder = f"{component.folder}/"
    files = {e.path[len(folder) :]: str(e.digest) for e in manifest.files if e.path.startswith(folder)}
    source = _Source(component.runtime, component.scheme, component.entry, component.recipe, files)
    return _digest(source)


def key_of(source: Digest, bound_to: dict[str, str]) -> Digest:
    """The name of what is built from a source on a device as it is now."""
    return _digest(_Key(source, bound_to))


def _digest(value: _Source | _Key) -> Digest:
    # Imported late: libcrypto is 4 MB that an agent without work need not hold.
    import hashlib

    return Digest(hashlib.sha256(canonical_bytes(value)).hexdigest())
