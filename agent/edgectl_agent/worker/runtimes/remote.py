"""A runtime that lives in another interpreter: its graphs run in a worker of that one, their tensors in shared memory.

One deployment may need the system's Python and another one. The child speaks the worker protocol, and ends when this
process does, since its standard input ends then. A call costs a frame each way, about 0.1 ms, and one copy of each
input.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import Graph, LoadedFacts, Runtime, check_no_text
from edgectl_agent.worker.shared_memory import make_memory, map_memory
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import EdgectlError, RuntimeMissingError, WorkerError
from edgectl_protos.worker import messages
from edgectl_protos.worker.process import WorkerProcess

__all__ = ["RemoteRuntime"]

_LOAD_S = 600.0
_INFER_S = 60.0
_STOP_S = 2.0


class RemoteRuntime(Runtime):
    """Any runtime, by name, in the worker of another interpreter. The worker ends with the last of its graphs."""

    def __init__(self, name: str, interpreter: str) -> None:
        self.name = name  # type: ignore[misc]
        self._interpreter = interpreter
        self._process: WorkerProcess | None = None
        self._log: Path | None = None
        self._open = 0

    def load(self, artifact: Path, component: Component, threads: int, *, alone: bool = True) -> Graph:
        """As any runtime; what the other worker refuses is raised here."""
        check_no_text(component)
        graph = _RemoteGraph(self._start(), component, artifact, threads, alone, on_close=self._closed_one)
        self._open += 1
        return graph

    def close(self) -> None:
        """End the other worker."""
        if self._process is not None:
            self._process.stop()
            self._process = None
        if self._log is not None:
            self._log.unlink(missing_ok=True)
            self._log = None
        self._open = 0

    def _closed_one(self) -> None:
        self._open -= 1
        if self._open <= 0:
            self.close()

    def _start(self) -> WorkerProcess:
        if self._process is not None and not self._process.alive:
            self.close()
        if self._process is None:
            handle, log = tempfile.mkstemp(prefix="edgectl-worker-", suffix=".log")
            os.close(handle)
            self._log = Path(log)
            command = [self._interpreter, "-m", "edgectl_agent.worker"]
            try:
                self._process = WorkerProcess(command, self._log, stop_s=_STOP_S)
            except EdgectlError:
                self.close()
                raise
        return self._process

    def import_library(self) -> str:
        """See that the other interpreter has the runtime; its version."""
        facts = self.probe()
        if facts.problem:
            # Without the path, which is this machine's: a host's gate writes the message into the release.
            raise RuntimeMissingError(
                facts.problem,
                hint=f"install it there: {self._interpreter} -m pip install 'edgectl-agent[{self.name}]'",
            )
        return facts.version

    def probe(self) -> RuntimeFacts:
        """What the other interpreter says of it."""
        try:
            reply = self._start().ask(messages.Probe(), messages.ProbeReply, timeout_s=_LOAD_S)
        except EdgectlError as exc:
            return RuntimeFacts(self.name, "", (), (), problem=f"{exc.message} {exc.hint}".strip())
        found = next((facts for facts in reply.runtimes if facts.name == self.name), None)
        return found or RuntimeFacts(self.name, "", (), (), problem=f"{self._interpreter} does not know it")

    def bound_to(self) -> dict[str, str]:
        """As any runtime; what the other worker refuses is raised here."""
        return self._start().ask(messages.BoundTo(self.name), messages.BoundToReply, timeout_s=_LOAD_S).facts

    def _import(self) -> str:
        raise NotImplementedError

    def _facts(self, version: str) -> RuntimeFacts:
        raise NotImplementedError

    def _load(self, artifact: Path, component: Component, threads: int, alone: bool) -> Graph:
        raise NotImplementedError

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return ()

    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        return WorkerError(str(error))


class _RemoteGraph(Graph):
    """A graph in the other worker, seen through its memory."""

    def __init__(
        self,
        process: WorkerProcess,
        component: Component,
        artifact: Path,
        threads: int,
        alone: bool,
        *,
        fork_of: int = -1,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        memory = make_memory(component)
        try:
            request = messages.OpenGraph(component, str(artifact), threads, alone, str(memory), fork_of)
            opened = process.ask(request, messages.GraphOpened, timeout_s=_LOAD_S)
            self._memory, self._outputs = map_memory(memory, component)
        finally:
            # Mapped twice or not at all by now; the file itself is not needed.
            memory.unlink(missing_ok=True)
        found = opened.facts
        facts = LoadedFacts(
            found.precision, found.provider, found.runtime_version, opened.first_inference_s, found.simulated
        )
        super().__init__(component.runtime, component, facts)
        self._process = process
        self._graph = opened.graph
        self._again = (artifact, threads, alone)
        self._on_close = on_close
        self._copies: dict[str, Array] = {}

    def _fork(self) -> Graph:
        return _RemoteGraph(self._process, self.component, *self._again, fork_of=self._graph)

    def _bind(self, name: str, array: Array) -> bool:
        self._copies[name] = array
        return True

    def _run(self) -> Mapping[str, Array]:
        for name, array in self._copies.items():
            np.copyto(self._memory[name], array)
        self._process.ask(messages.InferGraph(self._graph), messages.GraphInferred, timeout_s=_INFER_S)
        return self._outputs

    def _close(self) -> None:
        self._copies = {}
        if self._on_close is not None:
            self._on_close()

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError,)
