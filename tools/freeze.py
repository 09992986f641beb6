"""Put the wheels of a commit into `tests/frozen`, as a version: `python tools/freeze.py COMMIT VERSION`."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from dist import ROOT, build_wheels

FROZEN = ROOT / "tests" / "frozen"


def main() -> int:
    """Build them from the commit alone."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    commit, version = sys.argv[1:]
    with tempfile.TemporaryDirectory() as made:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "x", "-C", made], input=archive.stdout, check=True)
        file = Path(made, "protos/edgectl_protos/version.py")
        file.write_text(re.sub(r'VERSION = "[^"]+"', f'VERSION = "{version}"', file.read_text()))
        build_wheels(FROZEN, Path(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
