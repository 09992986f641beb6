"""The end of every failure: message, reason, hint and exit code, and never a traceback.

The only place that catches every EdgectlError. With `--json` the error is a document on standard output too.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import click

from edgectl_protos.domain.errors import DiskFullError, EdgectlError, InternalError, UsageError

__all__ = ["error_document", "guarded"]

_INTERRUPTED = 130


def guarded(command: Callable[[], int], *, json_mode: bool, log_dir: Path) -> int:
    """The exit code of the command, whatever happens in it."""
    try:
        with _interrupts_raised():
            code = command()
            sys.stdout.flush()
        return code
    except EdgectlError as exc:
        return _report(exc, json_mode)
    except click.exceptions.NoArgsIsHelpError as exc:
        _say(sys.stdout, exc.format_message() + "\n")
        return UsageError.exit_code
    except click.ClickException as exc:
        return _report(_usage(exc), json_mode)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say(sys.stderr, "\ninterrupted\n")
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough.
        _say(sys.stdout, "")
        return 0
    except OSError as exc:
        return _report(_of_the_system(exc), json_mode)
    except Exception as exc:  # noqa: BLE001 - the boundary of the process: a defect, told without a traceback
        return _report(_defect(exc, log_dir), json_mode)


@contextlib.contextmanager
def _interrupts_raised() -> Iterator[None]:
    """KeyboardInterrupt where the entry point has put the system's own handler, which ends the process at once.

    Only in here is there someone who catches it; before and after, Python would show a traceback.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
        yield
        return
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def error_document(error: EdgectlError) -> dict[str, object]:
    """The error as JSON has it."""
    return {
        "error": {
            "reason": error.reason,
            "message": error.message,
            "hint": error.hint,
            "exit_code": error.exit_code,
        }
    }


def _report(error: EdgectlError, json_mode: bool) -> int:
    _say(sys.stdout, json.dumps(error_document(error), indent=2) + "\n" if json_mode else "")
    hint = f"hint: {error.hint}\n" if error.hint else ""
    _say(sys.stderr, f"error[{error.reason}]: {error.message}\n{hint}")
    return error.exit_code


def _say(stream: TextIO, text: str) -> None:
    """A last word, and whatever is still to be written before it; nobody may be there to read it, or no room for it."""
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        # What is left goes nowhere: Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _usage(exc: click.ClickException) -> UsageError:
    context = getattr(exc, "ctx", None)
    path = context.command_path if context is not None else "edgectl"
    return UsageError(exc.format_message(), hint=f"{path} --help")


def _of_the_system(exc: OSError) -> EdgectlError:
    """A file of the host that cannot be read or written; a device's disk answers for itself."""
    where = f"{exc.filename}: " if exc.filename else ""
    reason = exc.strerror or str(exc)
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"{where}{reason}, here on the host", hint="make room, then see: edgectl doctor")
    return UsageError(f"{where}{reason}", hint="check the path, its permissions and free space: edgectl doctor")


def _defect(exc: Exception, log_dir: Path) -> InternalError:
    what = f"{type(exc).__name__}: {exc}"
    path = log_dir / "crash.log"
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(exc)))
    except OSError:
        return InternalError(f"a defect in edgectl: {what}")
    return InternalError(f"a defect in edgectl: {what}", hint=f"please report it with {path}")
