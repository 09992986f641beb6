"""The process inside a toolchain: requests, one after the other. `PYTHON -m edgectl_converters.worker`.

Each line of standard input names a folder, which holds `request.json` (whose type is named beside it) and gets
`report.json` or `failure.json`, all dataclasses by the one document codec, and `log`, what libraries print. Standard
output has lines of `progress: TEXT`, and `done` at the end of each request.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.errors import EdgectlError, InternalError

__all__ = ["DONE", "FAILURE", "KIND", "LOG", "PROGRESS", "REPORT", "REQUEST"]

KIND, REQUEST, REPORT, FAILURE, LOG = "kind.json", "request.json", "report.json", "failure.json", "log"
PROGRESS, DONE = "progress: ", "done"

_Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """Which kind of request it is: export, pass, build or rank."""

    kind: str


def _export(data: bytes, progress: _Progress) -> Any:
    from edgectl_converters.sources.base import ExportRequest
    from edgectl_converters.sources.registry import source

    request = from_bytes(ExportRequest, data, what=REQUEST)
    return source(request.source).export(request, progress)


def _pass(data: bytes, progress: _Progress) -> Any:
    from edgectl_converters.passes.base import PassRequest
    from edgectl_converters.passes.registry import pass_of

    request = from_bytes(PassRequest, data, what=REQUEST)
    return pass_of(request.tool).apply(request, progress)


def _build(data: bytes, progress: _Progress) -> Any:
    from edgectl_converters.targets.base import BuildRequest
    from edgectl_converters.targets.registry import target

    request = from_bytes(BuildRequest, data, what=REQUEST)
    return target(request.runtime).build(request, progress)


def _rank(data: bytes, progress: _Progress) -> Any:
    from edgectl_converters.targets.base import RankRequest
    from edgectl_converters.targets.registry import target

    request = from_bytes(RankRequest, data, what=REQUEST).build
    return target(request.runtime).rank(request, progress)


_HANDLERS: dict[str, Callable[[bytes, _Progress], Any]] = {
    "export": _export,
    "pass": _pass,
    "build": _build,
    "rank": _rank,
}


def main() -> int:
    """Answer requests until there are no more; also those that fail in an orderly way: the report says so."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)

    def progress(text: str) -> None:
        replies.write(f"{PROGRESS}{' '.join(text.splitlines())}\n")

    for line in sys.stdin:
        folder = Path(line.rstrip("\n"))
        # Vendor libraries print to standard output; that must not mix with progress.
        with open(folder / LOG, "ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        _answer(folder, progress)
        replies.write(f"{DONE}\n")
    return 0


def _answer(folder: Path, progress: _Progress) -> None:
    try:
        kind = from_bytes(Kind, (folder / KIND).read_bytes(), what=KIND).kind
        report = _HANDLERS[kind]((folder / REQUEST).read_bytes(), progress)
        (folder / REPORT).write_bytes(canonical_bytes(report))
    except EdgectlError as exc:
        _fail(folder, exc)
    except Exception as exc:  # noqa: BLE001 - the boundary of the process; the trace is in the log
        traceback.print_exc()
        _fail(folder, InternalError(f"{type(exc).__name__}: {exc}"))


def _fail(folder: Path, error: EdgectlError) -> None:
    (folder / FAILURE).write_bytes(canonical_bytes(Failure(error.reason, error.message, error.hint)))


if __name__ == "__main__":
    sys.exit(main())
