"""One model through one runtime in one way, and what came of it."""

from __future__ import annotations

import enum
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bare import check_bare
from cases import Case
from in_process import Converter, borderless

from edgectl_protos.domain.errors import EdgectlError, InternalError, ParityError

__all__ = ["Outcome", "Trial", "Verdict", "Way", "bare_outcome", "begin", "conversion_outcome"]


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


def begin() -> Callable[[Case, Trial], Outcome]:
    """What tries node tests, in a process that does nothing else."""
    converter = Converter()

    def attempt(case: Case, trial: Trial) -> Outcome:
        if trial.way is Way.BARE:
            return bare_outcome(lambda: check_bare(trial.runtime, case))
        with tempfile.TemporaryDirectory(prefix="edgectl-") as folder, borderless():
            return conversion_outcome(
                lambda: converter.convert(case, trial.runtime, Path(folder), with_data=trial.way is Way.WITH_DATA)
            )

    return attempt


def bare_outcome(check: Callable[[], Any]) -> Outcome:
    """What came of a runtime used bare."""
    try:
        with np.errstate(all="ignore"):
            check()
    except AssertionError as exc:
        return Outcome(Verdict.WRONG, "outputs", _line(exc))
    except Exception as exc:  # noqa: BLE001 (each library raises what it likes)
        return Outcome(Verdict.REFUSED, type(exc).__name__, _line(exc))
    return Outcome(Verdict.RIGHT)


def conversion_outcome(convert: Callable[[], Any]) -> Outcome:
    """What came of a conversion."""
    try:
        with np.errstate(all="ignore"):
            convert()
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
