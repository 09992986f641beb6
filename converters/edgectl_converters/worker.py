"""The process inside a toolchain: one request, one result. `PYTHON -m edgectl_converters.worker REQUEST RESULT`.

A request is a JSON file {"op": NAME, "body": {...}}; the result is {"result": {...}} or {"failure": {reason, message,
hint}}. Progress goes to standard output as lines of `progress: TEXT`; what libraries print goes to the log.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path

from edgectl_protos.domain.errors import EdgectlError, InternalError

OPERATIONS = {
    "lerobot.export": "edgectl_converters.sources.lerobot_export:export",
    "onnx.export": "edgectl_converters.sources.onnx:export",
    "build": "edgectl_converters.build:build",
}


def main() -> int:
    """Run the request; 0 even when it failed in an orderly way: the result says so."""
    request = json.loads(Path(sys.argv[1]).read_bytes())
    progress_stream = os.fdopen(os.dup(1), "w", buffering=1)
    # Vendor libraries print to standard output; that must not mix with progress.
    os.dup2(2, 1)

    def progress(text: str) -> None:
        progress_stream.write(f"progress: {text}\n")

    module, _, name = OPERATIONS[request["op"]].partition(":")
    try:
        document = {"result": getattr(importlib.import_module(module), name)(request["body"], progress)}
    except EdgectlError as exc:
        document = {"failure": _failure(exc)}
    except Exception as exc:  # noqa: BLE001 - the boundary of the process; the trace is in the log
        traceback.print_exc()
        document = {"failure": _failure(InternalError(f"{type(exc).__name__}: {exc}"))}
    Path(sys.argv[2]).write_text(json.dumps(document))
    return 0


def _failure(error: EdgectlError) -> dict[str, str]:
    return {"reason": error.reason, "message": error.message, "hint": error.hint}


if __name__ == "__main__":
    sys.exit(main())
