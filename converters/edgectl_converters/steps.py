"""Content-addressed steps: same inputs, options and toolchain lock → the cached output.

A step's output is a folder in `<cache>/steps/<key>`, made aside and renamed, so that an interrupted step leaves nothing
half. Two conversions that need the same step do it once: the second waits on a lock file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgectl_converters.toolchain import Toolchain
from edgectl_protos.domain.errors import ToolchainError, error_by_reason

__all__ = ["FinishedSteps", "StepMissing", "StepOutput", "Steps", "key_of"]

_RESULT_NAME = "result.json"
_LOG_TAIL_LINES = 3


def key_of(**parts: Any) -> str:
    """The cache key of a step: a digest over everything that decides its output."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StepOutput:
    """A finished step: its folder, what it reported, and whether it was there already."""

    folder: Path
    result: dict[str, Any]
    cached: bool


class Steps:
    """The cache of steps."""

    def __init__(self, cache_dir: Path) -> None:
        self._root = cache_dir / "steps"
        self._root.mkdir(parents=True, exist_ok=True)

    def find(self, key: str) -> StepOutput | None:
        """The finished step of this key."""
        folder = self._root / key
        if not (folder / _RESULT_NAME).exists():
            return None
        return StepOutput(folder, json.loads((folder / _RESULT_NAME).read_bytes()), cached=True)

    def make(self, key: str, make: Callable[[Path], dict[str, Any]]) -> StepOutput:
        """The step of this key; `make` fills the folder it is given and returns the result, if it is not cached."""
        found = self.find(key)
        if found is not None:
            return found
        with self._locked(key):
            found = self.find(key)
            if found is not None:
                return found
            aside = Path(tempfile.mkdtemp(dir=self._root, prefix=f".{key[:16]}-"))
            try:
                result = make(aside)
                (aside / _RESULT_NAME).write_text(json.dumps(result))
                aside.rename(self._root / key)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
            return StepOutput(self._root / key, result, cached=False)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        path = self._root / f".{key}.lock"
        with open(path, "w") as file:
            # The file stays: removed, it would let in a third beside a second that waits on the old one.
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class StepMissing(Exception):
    """A step that would have to be made."""


class FinishedSteps(Steps):
    """The cache as it stands: what is not in it is missing, and is not made."""

    def make(self, key: str, make: Callable[[Path], dict[str, Any]]) -> StepOutput:
        """The finished step.

        Raises:
            StepMissing: it is not there.
        """
        found = self.find(key)
        if found is None:
            raise StepMissing(key)
        return found


def run_in_toolchain(
    toolchain: Toolchain, op: str, body: dict[str, Any], progress: Callable[[str], None]
) -> dict[str, Any]:
    """Run one operation of worker.py in the toolchain's own process.

    Raises:
        ToolchainError: the process died.
        EdgectlError: the failure that it reports.
    """
    with tempfile.TemporaryDirectory(prefix="edgectl-") as folder:
        request, result, log = (Path(folder) / name for name in ("request.json", "result.json", "log"))
        request.write_text(json.dumps({"op": op, "body": {**body, "work": folder}}))
        command = [str(toolchain.python), "-m", "edgectl_converters.worker", str(request), str(result)]
        with (
            open(log, "wb") as errors,
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=toolchain.environment()
            ) as process,
        ):
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    if line.startswith("progress: "):
                        progress(line[10:].rstrip())
            except BaseException:
                # Interrupted: the child must not go on for minutes by itself.
                process.kill()
                raise
        if process.returncode != 0 or not result.exists():
            lines = log.read_text(errors="replace").strip().splitlines()[-_LOG_TAIL_LINES:]
            raise ToolchainError(
                f"the {toolchain.name} toolchain's process ended with {process.returncode}: {' | '.join(lines)}",
                hint="out of memory? see dmesg; check it with: edgectl toolchain list",
            )
        document = json.loads(result.read_bytes())
    if "failure" in document:
        failure = document["failure"]
        raise error_by_reason(failure["reason"])(failure["message"], hint=failure["hint"])
    found: dict[str, Any] = document["result"]
    return found
