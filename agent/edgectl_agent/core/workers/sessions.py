"""The worker of each release: started and loaded when first needed, kept for the next request.

The worker that passed parity goes on to serve probation and runs. One that died is replaced by a fresh one. Before each
load, and each use of what was loaded, the release's files are looked at: nothing runs that is not what was installed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgectl_agent.core.deployments.gates import check_loaded
from edgectl_agent.core.store.layout import Layout
from edgectl_agent.core.workers.interpreters import Interpreters
from edgectl_agent.core.workers.pool import WorkerPool
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.errors import DeviceError, EdgectlError
from edgectl_protos.worker import messages
from edgectl_protos.worker.process import WorkerProcess

__all__ = ["Sessions"]


class Sessions:
    """Loaded workers by release. `check_whole` refuses a release whose files are not what they were."""

    def __init__(
        self,
        layout: Layout,
        pool: WorkerPool,
        interpreters: Interpreters,
        check_whole: Callable[[Digest, Manifest], None],
        *,
        load_timeout_s: float,
    ) -> None:
        self._layout = layout
        self._pool = pool
        self._interpreters = interpreters
        self._check_whole = check_whole
        self._load_timeout_s = load_timeout_s
        self._begun: set[Digest] = set()

    def fresh(self, release: Digest, manifest: Manifest) -> tuple[WorkerProcess, messages.Loaded]:
        """A new worker with the release loaded, each component in the precision of its scheme.

        Raises:
            BundleCorruptError: a file of the release is missing or altered.
            PrecisionError: a runtime took another one.
            WorkerError: the worker died.
            EdgectlError: the worker's own refusal.
        """
        self._check_whole(release, manifest)
        seat = self._interpreters.seat(manifest)
        self._begun.add(release)
        worker = self._pool.start(seat.python, key=release.hex, others=set(seat.others.values()))
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
        worker = self._pool.held(release.hex)
        if worker is None:
            return self.fresh(release, manifest)[0]
        try:
            self._check_whole(release, manifest)
        except EdgectlError:
            self.end(release)
            raise
        return worker

    def written(self, release: Digest, name: str) -> Path:
        """Where the worker of a release is to write a file of this name.

        Raises:
            DeviceError: the disk gave it no folder to write in.
        """
        scratch = self._pool.scratch(release.hex)
        if scratch is None:
            raise DeviceError(
                "the disk of the device has no room for what the worker would write",
                hint="free some space there, and look at its log",
            )
        return scratch / name

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
