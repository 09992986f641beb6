"""Recipes of toolchains: folders of data, `toolchains/<name>/`.

`toolchain.json` says which Python, what is installed in which order, which packages are looked at and must be there,
and which environment variables its processes get; the other `.txt` files are locks with hashes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from edgectl_protos.codec.document import from_bytes

__all__ = ["Recipe", "recipe_names"]

_FOLDER = Path(__file__).parent / "toolchains"
_DOCUMENT = "toolchain.json"


@dataclass(frozen=True, slots=True)
class _Install:
    """One call of pip: `{here}` is the folder."""

    what: str
    pip: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Document:
    """toolchain.json. `needs` must be in an environment that is used; the versions of `probe` are shown and keyed."""

    python: str
    takes: str
    needs: tuple[str, ...]
    probe: tuple[str, ...]
    install: tuple[_Install, ...]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a toolchain is made. `lock` is the digest of what pip is told; it was worked out from the `.in` files."""

    name: str
    python: str
    takes: str
    needs: tuple[str, ...]
    probe: tuple[str, ...]
    steps: tuple[tuple[str, tuple[str, ...]], ...]
    environment: dict[str, str]
    lock: str

    @classmethod
    def read(cls, name: str, root: Path | None = None) -> Recipe:
        """The recipe of this name."""
        folder = (root or _FOLDER) / name
        document = from_bytes(_Document, (folder / _DOCUMENT).read_bytes(), what=f"{name}/{_DOCUMENT}")
        digest = hashlib.sha256()
        for file in sorted((folder / _DOCUMENT, *folder.glob("*.txt"))):
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        return cls(
            name=name,
            python=document.python,
            takes=document.takes,
            needs=document.needs,
            probe=tuple(dict.fromkeys((*document.needs, *document.probe))),
            steps=tuple(
                (step.what, tuple(text.replace("{here}", str(folder)) for text in step.pip))
                for step in document.install
            ),
            environment=document.environment,
            lock=digest.hexdigest(),
        )


def recipe_names(root: Path | None = None) -> tuple[str, ...]:
    """Every toolchain that can be made."""
    return tuple(sorted(file.parent.name for file in (root or _FOLDER).glob(f"*/{_DOCUMENT}")))
