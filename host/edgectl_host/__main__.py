"""`edgectl`: the entry point. Reads the process's arguments and environment, and nothing else does."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until there is someone to catch it, an interrupt ends the process as it ends any other: without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import io
import os
import sys

from edgectl_host.cli.app import run
from edgectl_host.cli.wiring import Wiring
from edgectl_host.config import HostConfig


def main() -> int:
    """Run one command; the exit code."""
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show `≤` shows `?` instead of ending the command.
            stream.reconfigure(errors="replace")
    return run(sys.argv[1:], Wiring(HostConfig.from_environment(os.environ, uid=os.getuid())))


def _open_what_is_closed() -> None:
    """A standard stream that the caller closed is /dev/null: in Python it is none, and its number the next file's."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - as long as the process lives


if __name__ == "__main__":
    sys.exit(main())
