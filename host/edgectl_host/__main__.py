"""`edgectl`: the entry point. Reads the process's arguments and environment, and nothing else does."""

from __future__ import annotations

import io
import os
import sys

from edgectl_host.cli.app import run
from edgectl_host.cli.wiring import Wiring
from edgectl_host.config import HostConfig


def main() -> int:
    """Run one command; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show `≤` shows `?` instead of ending the command.
            stream.reconfigure(errors="replace")
    return run(sys.argv[1:], Wiring(HostConfig.from_environment(os.environ, uid=os.getuid())))


if __name__ == "__main__":
    sys.exit(main())
