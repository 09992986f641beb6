"""The worker of each release: started and loaded when first needed, kept for the next request.

The worker that passed parity goes on to serve probation and runs. One that died is replaced by a fresh one.
"""

from __future__ import annotations

from edgectl_agent import frames
from edgectl_agent.core.gates import check_loaded
from edgectl_agent.core.layout import Layout
from edgectl_agent.core.workers import Worker, WorkerPool
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import EdgectlError

__all__ = ["Sessions"]


class Sessions:
    """Loaded workers by release."""

    def __init__(self, layout: Layout, pool: WorkerPool, *, load_timeout_s: float) -> None:
        self._layout = layout
        self._pool = pool
        self._load_timeout_s = load_timeout_s

    def fresh(self, release: Digest, component: Component) -> tuple[Worker, frames.Loaded]:
        """A new worker with the release loaded at the precision it asks for.

        Raises:
            PrecisionError: the runtime took another one.
            WorkerError: the worker died.
            EdgectlError: the worker's own refusal.
        """
        worker = self._pool.start(component.runtime, key=release.hex)
        request = frames.Load(str(self._layout.release(release)), threads=0)
        try:
            loaded = worker.ask(request, frames.Loaded, timeout_s=self._load_timeout_s)
            check_loaded(component, loaded)
        except EdgectlError:
            self._pool.end(release.hex)
            raise
        return worker, loaded

    def ready(self, release: Digest, component: Component) -> Worker:
        """The live worker of a release, or a fresh one.

        Raises:
            EdgectlError: as for `fresh`.
        """
        return self._pool.held(release.hex) or self.fresh(release, component)[0]

    def end(self, release: Digest) -> None:
        """Stop the worker of a release, if there is one."""
        self._pool.end(release.hex)

    def kill(self, release: Digest) -> None:
        """Kill the worker of a release, whoever may be asking it."""
        self._pool.kill(release.hex)
