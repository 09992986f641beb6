"""What the bench says: printed as it comes, and kept."""

from __future__ import annotations

import sys
from pathlib import Path


class Report:
    """The lines of one run."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def say(self, line: str = "") -> None:
        """Print a line and keep it."""
        print(line, flush=True)
        self._lines.append(line)

    def note(self, text: str) -> None:
        """Progress, not kept."""
        print(f"  … {text}", file=sys.stderr, flush=True)

    def write(self, path: Path) -> None:
        """What was said."""
        path.write_text("\n".join(self._lines) + "\n")
