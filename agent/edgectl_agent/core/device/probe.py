"""Which runtimes there are: asked of a short-lived worker in each configured interpreter, and remembered."""

from __future__ import annotations

import logging

from edgectl_agent.core.workers.interpreters import Interpreters
from edgectl_agent.core.workers.pool import WorkerPool
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import EdgectlError
from edgectl_protos.worker import messages

__all__ = ["Probe"]

_LOG = logging.getLogger(__name__)
_KEY = "probe"


class Probe:
    """Probes runtimes, each in the interpreter that is meant to hold it."""

    def __init__(self, pool: WorkerPool, interpreters: Interpreters, *, timeout_s: float) -> None:
        self._pool = pool
        self._interpreters = interpreters
        self._timeout_s = timeout_s
        self._answers: dict[str, tuple[RuntimeFacts, ...]] = {}

    def runtimes(self) -> tuple[RuntimeFacts, ...]:
        """Every runtime, from the interpreter that is meant to hold it now.

        Raises:
            WorkerError: the worker of the default interpreter died, or did not answer.
        """
        elsewhere = self._interpreters.by_runtime
        found = {facts.name: facts for facts in self._ask(self._interpreters.default) if facts.name not in elsewhere}
        for name, interpreter in elsewhere.items():
            found[name] = self._ask_one(name, interpreter)
        return tuple(found.values())

    def _ask_one(self, name: str, interpreter: str) -> RuntimeFacts:
        try:
            offered = {facts.name: facts for facts in self._ask(interpreter)}
        except EdgectlError as exc:
            _LOG.error("runtime %s: %s (%s)", name, exc.message, exc.hint)
            return RuntimeFacts(name, "", (), (), problem=f"{interpreter}: {exc.message}")
        missing = RuntimeFacts(name, "", (), (), problem=f"{interpreter} does not offer it")
        return offered.get(name, missing)

    def _ask(self, python: str) -> tuple[RuntimeFacts, ...]:
        known = self._answers.get(python)
        if known is None:
            worker = self._pool.start(python, key=_KEY)
            try:
                known = worker.ask(messages.Probe(), messages.ProbeReply, timeout_s=self._timeout_s).runtimes
            finally:
                self._pool.end(_KEY)
            self._answers[python] = known
        return known
