"""The jobs of a deployment, one for each state that has one. They act; the deployer decides and remembers.

Each job can be done again after it was interrupted anywhere, with the same outcome.
"""

from __future__ import annotations

from collections.abc import Callable

from edgectl_agent.core.deployments.gates import check_loop, check_parity, check_recipes
from edgectl_agent.core.deployments.journal import Record
from edgectl_agent.core.deployments.lifecycle import Done, Job
from edgectl_agent.core.store.releases import Links
from edgectl_agent.core.store.store import Store
from edgectl_agent.core.workers.builds import Builds
from edgectl_agent.core.workers.sessions import Sessions
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.errors import EdgectlError, StateError
from edgectl_protos.domain.parity import ParityReport
from edgectl_protos.worker import messages

__all__ = ["Installer"]


class Installer:
    """Does jobs on the store and with workers."""

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        builds: Builds,
        note: Callable[[str, str], None],
        *,
        parity_timeout_s: float,
        smoke_timeout_s: float,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._builds = builds
        self._note = note
        self._parity_timeout_s = parity_timeout_s
        self._smoke_timeout_s = smoke_timeout_s
        self._jobs: dict[Job, Callable[[Record], Done]] = {
            Job.VERIFY: self._verify,
            Job.LAY_OUT: self._lay_out,
            Job.BUILD: self._build,
            Job.PROVE: self._prove,
            Job.ACTIVATE: self._activate,
            Job.SMOKE: self._smoke,
            Job.RESTORE: self._restore,
        }

    def do(self, job: Job, record: Record) -> Done:
        """Do one job.

        Raises:
            EdgectlError: why it cannot be done.
        """
        return self._jobs[job](record)

    def try_release(self, links: Links) -> None:
        """Run the loop of a release for a few ticks before it becomes the installed one again.

        Raises:
            EdgectlError: it does not run, or its bytes are altered.
        """
        assert links.current is not None
        manifest = self._store.manifest(links.current)
        self._store.verify(links.current, manifest)
        self._store.releases.lay_out(links.current, manifest)
        worker, _ = self._sessions.fresh(links.current, manifest)
        try:
            worker.ask(messages.Smoke(), messages.SmokeReply, timeout_s=self._smoke_timeout_s)
        except EdgectlError:
            self._sessions.end(links.current)
            raise

    def _verify(self, record: Record) -> Done:
        release = record.deployment.release
        manifest = self._store.manifest(release)
        self._store.verify(release, manifest)
        check_recipes(manifest.components)
        check_loop(manifest, self._store.loop(manifest))
        return Done()

    def _lay_out(self, record: Record) -> Done:
        self._store.releases.lay_out(record.deployment.release, self._manifest(record))
        return Done()

    def _build(self, record: Record) -> Done:
        release = record.deployment.release
        done = self._builds.make(release, self._manifest(record), lambda said: self._note(record.deployment.id, said))
        return Done("; ".join(done))

    def _prove(self, record: Record) -> Done:
        manifest = self._manifest(record)
        worker, loaded = self._sessions.fresh(record.deployment.release, manifest)
        reply = worker.ask(messages.Parity(), messages.ParityReply, timeout_s=self._parity_timeout_s)
        check_parity(manifest, reply.report)
        return Done(_parity_detail(reply.report), reply.report, loaded.components)

    def _activate(self, record: Record) -> Done:
        release = record.deployment.release
        self._store.releases.set_links(record.restore.activated(release))
        self._sessions.end_others(release)
        return Done()

    def _smoke(self, record: Record) -> Done:
        release = record.deployment.release
        if self._store.releases.links().current != release:
            raise StateError(f"the installed release is not {release.short}: somebody changed the link")
        worker = self._sessions.ready(release, self._manifest(record))
        worker.ask(messages.Smoke(), messages.SmokeReply, timeout_s=self._smoke_timeout_s)
        return Done()

    def _restore(self, record: Record) -> Done:
        self._store.releases.set_links(record.restore)
        self._sessions.end(record.deployment.release)
        return Done()

    def _manifest(self, record: Record) -> Manifest:
        return self._store.manifest(record.deployment.release)


def _parity_detail(report: ParityReport | None) -> str:
    if report is None:
        return "the release has no golden cases: its numbers were not compared on this device"
    worst = report.worst
    found = f"{worst.name} is off by {worst.rmse:.2g} (rms), the most for its scale" if worst else report.figures[0]
    return f"parity: {found}, over {report.cases} cases"
