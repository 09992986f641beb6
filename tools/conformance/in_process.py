"""edgectl's own conversion with its two process borders taken away: the toolchain's process and the device's worker.

All else is what `edgectl convert` runs; a process for each step of thousands of models would take hours.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np
import onnx
from cases import Case

from edgectl_agent.worker.serve import Answers
from edgectl_converters import gates
from edgectl_converters.assignment import Assignment
from edgectl_converters.card import CheckpointCard
from edgectl_converters.code import Code
from edgectl_converters.conversion import run_conversion
from edgectl_converters.inspect import inspect
from edgectl_converters.passes.base import PassRequest
from edgectl_converters.passes.registry import pass_of
from edgectl_converters.plan import ConvertRequest
from edgectl_converters.process import Request, ToolchainProcess
from edgectl_converters.sources.base import ExportRequest
from edgectl_converters.sources.registry import source
from edgectl_converters.targets.registry import target
from edgectl_converters.toolchain import Toolchain, Toolchains
from edgectl_converters.workshop import Workshop
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.errors import PrecisionError, error_by_reason

__all__ = ["Converter", "borderless"]

T = TypeVar("T")


class Converter:
    """Converts cases, each in a folder of its own. For a process that does nothing else: it takes on the environment
    of the processes that it stands for, in which no library reports to its maker.
    """

    def __init__(self) -> None:
        self._code = Code()
        os.environ.update(Toolchains(Path(), Path()).host().environment())

    def convert(self, case: Case, runtime: str, folder: Path, *, with_data: bool) -> None:
        """Convert the case's model in what it is written in, else fp32; with its data as golden data, or with what
        edgectl makes itself.

        Raises:
            EdgectlError: a refusal.
        """
        checkpoint = folder / f"{case.name}.onnx"
        onnx.save(case.model, str(checkpoint))
        if with_data:
            np.savez(checkpoint.with_suffix(".golden.npz"), allow_pickle=False, **_golden(case))
        cache = folder / "cache"
        shop = Workshop(cache, Toolchains(cache, folder / "config"), threads=1, code=self._code)
        *others, last = _schemes(inspect(checkpoint, shop.digests), runtime)
        for scheme in others:
            with contextlib.suppress(PrecisionError):
                run_conversion(ConvertRequest(checkpoint, Assignment.of(runtime, scheme)), shop, _quiet)
                return
        run_conversion(ConvertRequest(checkpoint, Assignment.of(runtime, last)), shop, _quiet)


@contextlib.contextmanager
def borderless() -> Iterator[None]:
    """Within it, steps and workers of conversions run in this process."""
    with patch.object(ToolchainProcess, "run", _run_here), patch.object(gates, "WorkerProcess", _WorkerHere):
        yield


def _run_here(
    _: ToolchainProcess, toolchain: Toolchain, request: Request, report: type[T], progress: Callable[[str], None]
) -> T:
    if isinstance(request, ExportRequest):
        made: Any = source(request.source).export(request, progress)
    elif isinstance(request, PassRequest):
        made = pass_of(request.tool).apply(request, progress)
    else:
        made = target(request.runtime).build(request, progress)
    return from_bytes(report, canonical_bytes(made), what="report.json")


class _WorkerHere:
    """What answers in a worker process, asked directly."""

    alive = True

    def __init__(self, command: list[str], log: Path, **_: Any) -> None:
        log.touch()
        self._answers = Answers(_quiet, started_s=0.0)

    def ask(self, request: Any, reply: type[T], **_: Any) -> T:
        answer = self._answers.answer(request)
        if isinstance(answer, Failure):
            raise error_by_reason(answer.reason)(answer.message, hint=answer.hint)
        assert isinstance(answer, reply)
        return answer

    def stop(self) -> None:
        self._answers.close()

    kill = stop


def _golden(case: Case) -> dict[str, Any]:
    """The data with the case first, texts as numpy's; a sequence, which no .npz holds, is left to be missed."""
    graph = case.model.graph
    names = [f"in.{value.name}" for value in graph.input] + [f"out.{value.name}" for value in graph.output]
    rows: dict[str, list[Any]] = {}
    for given, wanted in case.data:
        for name, value in zip(names, (*given, *wanted), strict=False):
            if isinstance(value, np.ndarray | np.generic):
                rows.setdefault(name, []).append(value.astype(np.str_) if value.dtype.kind == "O" else value)
    return {name: np.stack(values) for name, values in rows.items()}


def _schemes(card: CheckpointCard, runtime: str) -> list[str]:
    return [scheme for scheme in card.schemes if scheme in target(runtime).schemes] or ["fp32"]


def _quiet(_: Any) -> None:
    pass
