"""Runs one typed request in a toolchain's own process, and reads its typed report."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edgectl_converters import worker
from edgectl_converters.passes.base import PassRequest
from edgectl_converters.sources.base import ExportRequest
from edgectl_converters.targets.base import BuildRequest
from edgectl_converters.toolchain import Toolchain
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.errors import ToolchainError, error_by_reason

__all__ = ["Request", "run_in_toolchain"]

T = TypeVar("T")
Request = ExportRequest | PassRequest | BuildRequest

_KINDS: dict[type, str] = {ExportRequest: "export", PassRequest: "pass", BuildRequest: "build"}
_LOG_TAIL_LINES = 3


def run_in_toolchain(toolchain: Toolchain, request: Request, report: type[T], progress: Callable[[str], None]) -> T:
    """Run the request.

    Raises:
        ToolchainError: the process died.
        EdgectlError: the failure that it reports.
    """
    with tempfile.TemporaryDirectory(prefix="edgectl-") as name:
        folder = Path(name)
        (folder / worker.KIND).write_bytes(canonical_bytes(worker.Kind(_KINDS[type(request)])))
        (folder / worker.REQUEST).write_bytes(canonical_bytes(request))
        log = folder / "log"
        command = [str(toolchain.python), "-m", worker.__name__, str(folder)]
        try:
            status = _run(command, toolchain.environment(), log, progress)
        except OSError as exc:
            raise ToolchainError(
                f"the {toolchain.name} toolchain's Python cannot be started: {exc.strerror}",
                hint="look at it: edgectl toolchain list",
            ) from exc
        if (folder / worker.FAILURE).exists():
            failure = from_bytes(Failure, (folder / worker.FAILURE).read_bytes(), what=worker.FAILURE)
            raise error_by_reason(failure.reason)(failure.message, hint=failure.hint)
        if status != 0 or not (folder / worker.REPORT).exists():
            lines = log.read_text(errors="replace").strip().splitlines()[-_LOG_TAIL_LINES:]
            raise ToolchainError(
                f"the {toolchain.name} toolchain's process ended with {status}: {' | '.join(lines)}",
                hint="out of memory? see dmesg; check it with: edgectl toolchain list",
            )
        return from_bytes(report, (folder / worker.REPORT).read_bytes(), what=worker.REPORT)


def _run(command: list[str], environment: dict[str, str], log: Path, progress: Callable[[str], None]) -> int:
    with (
        open(log, "wb") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace", env=environment
        ) as process,
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(worker.PROGRESS):
                    progress(line[len(worker.PROGRESS) :].rstrip())
        except BaseException:
            # Interrupted: the child must not go on for minutes by itself.
            process.kill()
            raise
    return process.returncode
