"""The real worker with known surroundings, each of which keeps stamps of its own.

    python truth_worker.py FILE --reply-fd N

The runtime `scripted` sleeps as its artifact says, the sink notes every action, the clock every sleep that is asked of
it. FILE is written when the worker ends, an array of float64 `[rows, len(COLUMNS)]`: rows of kind SLEEP are (moment
asked for, 0, asked at, returned at), of INFERENCE (frame number, 0, executor entered, left), of PUBLISH (inference,
index in its chunk, called at, called at), of STAMP (0, 0, at, at) when the loop first read its clock after a sleep or a
publication, in seconds of CLOCK_MONOTONIC; and how often the thread had lost its CPU by then.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from edgectl_agent.worker import session
from edgectl_agent.worker.__main__ import main
from edgectl_agent.worker.loop.clock import MonotonicClock
from edgectl_agent.worker.loop.runner import Loop
from edgectl_agent.worker.runtimes import registry
from edgectl_agent.worker.runtimes.base import Graph, LoadedFacts, Runtime
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import BundleCorruptError, EdgectlError

COLUMNS = ("kind", "a", "b", "begin", "end", "switches_begin", "switches_end")
SLEEP, INFERENCE, PUBLISH, STAMP = 1.0, 2.0, 3.0, 4.0

# An append costs less than the stamp before it.
Rows = list[tuple[float, ...]]


def seconds() -> float:
    """CLOCK_MONOTONIC."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) / 1e9


def switches() -> int:
    """How often this thread lost its CPU to another."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


class ScriptedRuntime(Runtime):
    """Sleeps; its outputs say which inference they are from, and at which place of the chunk."""

    name = "scripted"
    frame = -1.0
    """The number of the frame that was seen last."""

    def _import(self) -> str:
        return "1"

    def _facts(self, version: str) -> RuntimeFacts:
        return RuntimeFacts(self.name, version, ("sleep",), ("fp32",))

    def _load(self, artifact: Path, component: Component, threads: int, alone: bool) -> Graph:
        script = json.loads(artifact.read_text())
        return ScriptedGraph(component, script["warm_s"], script["measured_s"])

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return ()

    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        return BundleCorruptError(str(error))


class ScriptedGraph(Graph):
    """`measured_s` are the sleeps of the inferences after the source began anew, one after the other, then again."""

    def __init__(self, component: Component, warm_s: float, measured_s: list[float]) -> None:
        super().__init__("scripted", component, LoadedFacts("fp32", "sleep", "1"))
        self._warm_s, self._measured_s = warm_s, measured_s
        self._frame: Any = None
        self._warm = True
        self._count = 0
        self._chunk = np.zeros(component.outputs[0].shape, np.float32)
        self._chunk[:, 1] = np.arange(len(self._chunk))

    def _fork(self) -> Graph:
        raise NotImplementedError

    def _bind(self, name: str, array: Any) -> bool:
        self._frame = array
        return True

    def _run(self) -> Mapping[str, Any]:
        frame = float(self._frame.ravel()[0])
        if self._warm and frame < ScriptedRuntime.frame:
            self._warm, self._count = False, 0
        ScriptedRuntime.frame = frame
        time.sleep(self._warm_s if self._warm else self._measured_s[self._count % len(self._measured_s)])
        self._chunk[:, 0] = self._count
        self._count += 1
        return {"y": self._chunk}

    def _close(self) -> None:
        self._frame = None

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return ()


def surround(rows: Rows) -> None:
    """Put runtime, clock and sink in their places."""

    class Clock(MonotonicClock):
        def now_ns(self) -> int:
            read = MonotonicClock.now_ns()
            if rows and rows[-1][0] in (SLEEP, PUBLISH):
                now = seconds()
                rows.append((STAMP, 0.0, 0.0, now, now, 0, 0))
            return read

        def sleep_until(self, moment_ns: int) -> None:
            switches_asked, asked = switches(), seconds()
            super().sleep_until(moment_ns)
            rows.append((SLEEP, moment_ns / 1e9, 0.0, asked, seconds(), switches_asked, switches()))

    def publish(action: Any) -> None:
        now = seconds()
        rows.append((PUBLISH, float(action[0]), float(action[1]), now, now, 0, 0))

    def loop(*arguments: Any) -> Loop:
        spec, policy, executor, sources, clock = arguments
        run = executor.run

        def stamped(*observed: Any) -> Any:
            begin, switches_begin = seconds(), switches()
            actions = run(*observed)
            end = seconds()
            rows.append((INFERENCE, ScriptedRuntime.frame, 0.0, begin, end, switches_begin, switches()))
            return actions

        executor.run = stamped
        return Loop(spec, policy, executor, sources, clock, publish)

    registry.RUNTIMES["scripted"] = f"{__name__}:ScriptedRuntime"
    surroundings: Any = session
    surroundings.MonotonicClock, surroundings.Loop = Clock, loop


if __name__ == "__main__":
    seen: Rows = []
    surround(seen)
    status = main(sys.argv[2:])
    np.save(sys.argv[1], np.array(seen))
    sys.exit(status)
