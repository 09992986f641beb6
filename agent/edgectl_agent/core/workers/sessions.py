"""The worker of each release: started and loaded when first needed, kept for the next request.

The worker that passed parity goes on to serve probation and runs. One that died is replaced by a fresh one.
"""

from __future__ import annotations

from edgectl_agent.core.deployments.gates import check_loaded
from edgectl_agent.core.store.layout import Layout
from edgectl_agent.core.workers.interpreters import Interpreters
from edgectl_agent.core.workers.pool import WorkerPool
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.errors import EdgectlError
from edgectl_protos.worker import messages
from edgectl_protos.worker.process import WorkerProcess

__all__ = ["Sessions"]


class Sessions:
    """Loaded workers by release."""

    def __init__(self, layout: Layout, pool: WorkerPool, interpreters: Interpreters, *, load_timeout_s: float) -> None:
        self._layout = layout
        self._pool = pool
        self._interpreters = interpreters
        self._load_timeout_s = load_timeout_s
        self._begun: set[Digest] = set()

    def fresh(self, release: Digest, manifest: Manifest) -> tuple[WorkerProcess, messages.Loaded]:
        """A new worker with the release loaded, each component in the precision of its scheme.

        Raises:
            PrecisionError: a runtime took another one.
            WorkerError: the worker died.
            EdgectlError: the worker's own refusal.
        """
        seat = self._interpreters.seat(manifest)
        self._begun.add(release)
        worker = self._pool.start(seat.python, key=release.hex)
        request = messages.Load(
            str(self._layout.release(release)),
            threads=0,
            interpreters=seat.others,
            derived_dir=str(self._layout.derived),
        )
        try:
            loaded = worker.ask(request, messages.Loaded, timeout_s=self._load_timeout_s)
            check_loaded(manifest.components, loaded.components)
        except EdgectlError:
            self._pool.end(release.hex)
            raise
        return worker, loaded

    def ready(self, release: Digest, manifest: Manifest) -> WorkerProcess:
        """The live worker of a release, or a fresh one.

        Raises:
            EdgectlError: as for `fresh`.
        """
        return self._pool.held(release.hex) or self.fresh(release, manifest)[0]

    def end(self, release: Digest) -> None:
        """Stop the worker of a release, if there is one."""
        self._pool.end(release.hex)
        self._begun.discard(release)

    def end_others(self, than: Digest) -> None:
        """Stop all workers but that of this release."""
        for release in list(self._begun - {than}):
            self.end(release)

    def kill(self, release: Digest) -> None:
        """Kill the worker of a release, whoever may be asking it."""
        self._pool.kill(release.hex)
