"""One model through one runtime in one way, and what came of it."""

from __future__ import annotations

import enum
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bare import check_bare
from cases import Case
from in_process import Converter, borderless

from edgectl_protos.domain.errors import EdgectlError, InternalError, ParityError

__all__ = ["Outcome", "Trial", "Verdict", "Way", "attempt"]


class Way(enum.Enum):
    """How a case is tried."""

    BARE = "bare"
    WITH_DATA = "with its data"
    WITHOUT_DATA = "without"


class Verdict(enum.Enum):
    """What came of it. `INTERNAL` is what a user would see as `error[internal]`, `CRASHED` the end of a process."""

    RIGHT = "right"
    REFUSED = "refused"
    WRONG = "wrong"
    INTERNAL = "internal"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class Trial:
    """What to try: a case by its number."""

    case: int
    runtime: str
    way: Way


@dataclass(frozen=True, slots=True)
class Outcome:
    """`reason` is the stable code of an error, or the name of an exception."""

    verdict: Verdict
    reason: str = ""
    message: str = ""


def attempt(case: Case, runtime: str, way: Way, converter: Converter) -> Outcome:
    """Try it."""
    with np.errstate(all="ignore"):
        return _bare(case, runtime) if way is Way.BARE else _converted(case, runtime, way, converter)


def _bare(case: Case, runtime: str) -> Outcome:
    try:
        check_bare(runtime, case)
    except AssertionError as exc:
        return Outcome(Verdict.WRONG, "outputs", _line(exc))
    except Exception as exc:  # noqa: BLE001 (each library raises what it likes)
        return Outcome(Verdict.REFUSED, type(exc).__name__, _line(exc))
    return Outcome(Verdict.RIGHT)


def _converted(case: Case, runtime: str, way: Way, converter: Converter) -> Outcome:
    try:
        with borderless(), tempfile.TemporaryDirectory(prefix="edgectl-") as folder:
            converter.convert(case, runtime, Path(folder), with_data=way is Way.WITH_DATA)
    except InternalError as exc:
        return Outcome(Verdict.INTERNAL, exc.reason, exc.message)
    except EdgectlError as exc:
        verdict = Verdict.WRONG if isinstance(exc, ParityError) else Verdict.REFUSED
        return Outcome(verdict, exc.reason, exc.message)
    except Exception as exc:  # noqa: BLE001 (the process of a toolchain reports these as internal)
        return Outcome(Verdict.INTERNAL, type(exc).__name__, f"{_line(exc)}{_place(exc)}")
    return Outcome(Verdict.RIGHT)


def _place(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).suffix == ".py"]
    own = [frame for frame in frames if "edgectl_" in frame.filename]
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]
