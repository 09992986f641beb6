"""Generated sections of documents: between `<!-- NAME: … -->` and `<!-- NAME end -->`."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["check_section", "write_section"]


def write_section(path: Path, name: str, text: str) -> None:
    """Replace what stands between the markers."""
    before, _, after = _parts(path, name)
    path.write_text(before + text + after)


def check_section(path: Path, name: str, text: str) -> None:
    """Assert that the section holds this text; with EDGECTL_WRITE_DOCS set, write it instead."""
    if os.environ.get("EDGECTL_WRITE_DOCS"):
        write_section(path, name, text)
        return
    _, between, _ = _parts(path, name)
    assert between == text, f"write it: EDGECTL_WRITE_DOCS=1 pytest, then look at the change in {path.name}"


def _parts(path: Path, name: str) -> tuple[str, str, str]:
    before, found, rest = path.read_text().partition(f"<!-- {name}:")
    opening, _, rest = rest.partition("-->\n")
    between, closed, after = rest.partition(f"<!-- {name} end -->")
    assert found, f"{path.name} has no section {name}"
    assert closed, f"{path.name} has no end of section {name}"
    return f"{before}{found}{opening}-->\n", between, f"{closed}{after}"
