"""`python -m edgectl_agent.worker --reply-fd N`: requests on standard input, replies on descriptor N.

Standard output and error are the log, since vendor libraries print. The end of standard input ends the
process with status 0; so does a daemon that is gone.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys


def main(arguments: list[str] | None = None) -> int:
    """Serve one daemon until it hangs up; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m edgectl_agent.worker")
    parser.add_argument("--reply-fd", type=int, required=True, help="descriptor that takes the reply frames")
    reply_fd: int = parser.parse_args(arguments).reply_fd
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # An interrupt typed at the terminal is the daemon's to handle; it ends its workers by hanging up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    from edgectl_agent.worker.process import age_s
    from edgectl_agent.worker.serve import serve
    from edgectl_protos.domain.errors import WorkerError

    # Vendor libraries, and processes they start, must not read or answer in our place.
    os.set_inheritable(reply_fd, False)
    requests = os.fdopen(os.dup(0), "rb")
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    with requests, os.fdopen(reply_fd, "wb") as replies:
        try:
            serve(requests, replies, started_s=age_s())
        except WorkerError as exc:
            logging.getLogger(__name__).error("%s", exc.message)
            return 1
        except BrokenPipeError:
            logging.getLogger(__name__).info("the daemon is gone")
            # Closing would flush into the broken pipe once more.
            os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
