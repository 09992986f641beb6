"""Runs typed requests in a toolchain's own process, one after the other, and reads their typed reports.

A process stays for the next request of the same toolchain, since starting one and importing its libraries takes as long
as many a step; a request for another toolchain ends it.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from edgectl_converters import worker
from edgectl_converters.passes.base import PassRequest
from edgectl_converters.sources.base import ExportRequest
from edgectl_converters.targets.base import BuildRequest, RankRequest
from edgectl_converters.toolchain import Toolchain
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.errors import CancelledError, ToolchainError, error_by_reason

__all__ = ["Request", "ToolchainProcess"]

T = TypeVar("T")
Request = ExportRequest | PassRequest | BuildRequest | RankRequest

_KINDS: dict[type, str] = {ExportRequest: "export", PassRequest: "pass", BuildRequest: "build", RankRequest: "rank"}
_LOG_TAIL_LINES = 3
_STOP_S = 10.0


class ToolchainProcess:
    """The process of the toolchain that was used last. A context: the process ends with it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._toolchain: Toolchain | None = None
        self._killed = False

    def __enter__(self) -> ToolchainProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def kill(self) -> None:
        """End it at once, from any thread; a request, pending or later, raises CancelledError."""
        self._killed = True
        process = self._process
        if process is not None:
            process.kill()

    def run(self, toolchain: Toolchain, request: Request, report: type[T], progress: Callable[[str], None]) -> T:
        """Run the request.

        Raises:
            ToolchainError: the process died.
            CancelledError: it was killed on purpose.
            EdgectlError: the failure that it reports.
        """
        with tempfile.TemporaryDirectory(prefix="edgectl-") as name:
            folder = Path(name)
            (folder / worker.KIND).write_bytes(canonical_bytes(worker.Kind(_KINDS[type(request)])))
            (folder / worker.REQUEST).write_bytes(canonical_bytes(request))
            try:
                status = self._ask(toolchain, folder, progress)
            except OSError as exc:
                raise ToolchainError(
                    f"the {toolchain.name} toolchain's Python cannot be started: {exc.strerror}",
                    hint="look at it: edgectl toolchain list",
                ) from exc
            if self._killed:
                raise CancelledError("the conversion was interrupted")
            if (folder / worker.FAILURE).exists():
                failure = from_bytes(Failure, (folder / worker.FAILURE).read_bytes(), what=worker.FAILURE)
                raise error_by_reason(failure.reason)(failure.message, hint=failure.hint)
            if status is not None or not (folder / worker.REPORT).exists():
                log = folder / worker.LOG
                text = log.read_text(errors="replace") if log.exists() else ""
                raise ToolchainError(
                    f"the {toolchain.name} toolchain's process ended with {status}: "
                    f"{' | '.join(text.strip().splitlines()[-_LOG_TAIL_LINES:])}",
                    hint="out of memory? see dmesg; check it with: edgectl toolchain list",
                )
            return from_bytes(report, (folder / worker.REPORT).read_bytes(), what=worker.REPORT)

    def _ask(self, toolchain: Toolchain, folder: Path, progress: Callable[[str], None]) -> int | None:
        """The status with which the process ended; None when it is there for the next request."""
        try:
            process = self._of(toolchain, folder)
            if self._killed:
                # Before its process was there to be killed.
                process.kill()
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(f"{folder}\n")
                process.stdin.flush()
            for line in process.stdout:
                if line.startswith(worker.DONE):
                    return None
                if line.startswith(worker.PROGRESS):
                    progress(line[len(worker.PROGRESS) :].rstrip())
            return self._end()
        except BaseException:
            # Interrupted: the child must not go on for minutes by itself.
            if self._process is not None:
                self._process.kill()
            self._end()
            raise

    def _of(self, toolchain: Toolchain, folder: Path) -> subprocess.Popen[str]:
        if self._process is not None and self._toolchain == toolchain and self._process.poll() is None:
            return self._process
        self._end()
        command = [str(toolchain.python), "-m", worker.__name__]
        with open(folder / worker.LOG, "wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                errors="replace",
                env=toolchain.environment(),
            )
        self._toolchain = toolchain
        return self._process

    def _end(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        with process:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                return process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        return process.returncode
