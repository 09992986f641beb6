"""Brings files from one folder to another without reading them, where the disk allows."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

__all__ = ["link_or_copy", "link_tree"]


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link: only for files that nobody changes. A copy on another file system, or one without links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def link_tree(source: Path, target: Path, *, without: frozenset[str] = frozenset()) -> None:
    """Every file of a folder but those named, by their paths in it."""
    for file in sorted(source.rglob("*")):
        name = file.relative_to(source).as_posix()
        if file.is_file() and name not in without:
            link_or_copy(file, target / name)
