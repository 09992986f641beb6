"""Put real output into the README: `readme.py demo FILE` or `readme.py bench FILE`, FILE being what was printed.

Progress lines of the demo and everything before its table are left out; nothing else is changed.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from edgectl_testkit.documents import write_section  # noqa: E402


def main() -> int:
    """Write one section."""
    section, source = sys.argv[1], Path(sys.argv[2])
    lines = source.read_text().rstrip().splitlines()
    if section == "demo":
        begin = next(index for index, line in enumerate(lines) if line.startswith("verdict "))
        end = next((index for index, line in enumerate(lines) if line.startswith("run          ")), len(lines) - 1)
        lines = lines[begin : end + 1]
    write_section(ROOT / "README.md", section, "\n".join(["```", *lines, "```", ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
