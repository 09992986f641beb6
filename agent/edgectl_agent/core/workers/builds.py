"""Has built what only this device can build, each component by its runtime's own builder in a worker of its own.

A builder works aside, with bounds on time and memory; one that fails or is ended leaves nothing. What was built before
for this device as it is now is not built again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edgectl_agent.core.store.atomic import room
from edgectl_agent.core.store.layout import Layout
from edgectl_agent.core.store.store import Store, build_bytes
from edgectl_agent.core.workers.interpreters import Interpreters
from edgectl_agent.core.workers.pool import WorkerPool
from edgectl_protos.domain.artifact import Digest, safe_path
from edgectl_protos.domain.bundle import Component, Manifest
from edgectl_protos.domain.errors import BuildError, CancelledError, EdgectlError, WorkerError
from edgectl_protos.worker import messages
from edgectl_protos.worker.derived import key_of, source_of
from edgectl_protos.worker.process import WorkerProcess

__all__ = ["Builds", "parse_available_bytes"]

_LOG = logging.getLogger(__name__)

_LOOK_S = 0.5
_ASK_S = 180.0
_NOTES = 10
"""At most this often is said how far a build is: each note is a synced write."""


def parse_available_bytes(meminfo: str) -> int | None:
    """The memory that a process could still get; None where the kernel does not say."""
    for line in meminfo.splitlines():
        words = line.split()
        if words[:1] == ["MemAvailable:"] and len(words) == 3 and words[1].isdecimal():
            return int(words[1]) * 1024
    return None


def available_bytes() -> int | None:
    """Of this machine, now."""
    try:
        return parse_available_bytes(Path("/proc/meminfo").read_text())
    except OSError:
        return None


class Builds:
    """The builds of one agent. `spare_bytes` of memory are left to the machine."""

    def __init__(
        self,
        layout: Layout,
        store: Store,
        pool: WorkerPool,
        interpreters: Interpreters,
        *,
        timeout_s: float,
        spare_bytes: int,
        available: Callable[[], int | None] = available_bytes,
    ) -> None:
        self._layout = layout
        self._store = store
        self._pool = pool
        self._interpreters = interpreters
        self._timeout_s = timeout_s
        self._spare_bytes = spare_bytes
        self._available = available

    def have(self, manifest: Manifest) -> bool:
        """Whether everything of a release that this device must build is built, for the device as it is now."""
        try:
            for component in _unbuilt(manifest):
                # Two hosts may ask at once.
                name = f"bound-{threading.get_ident()}"
                worker = self._pool.start(self._interpreters.of(component.runtime), key=name)
                try:
                    key = key_of(source_of(component, manifest), _bound_to(worker, component))
                finally:
                    self._pool.end(name)
                if not self._store.derived.intact(key):
                    return False
        except EdgectlError as exc:
            _LOG.warning("whether %s is built cannot be told: %s", manifest.name, exc.message)
            return False
        return True

    def make(self, release: Digest, manifest: Manifest, note: Callable[[str], None]) -> list[str]:
        """Build what is missing; what was done, for people.

        Raises:
            BuildError: a builder refused, or had no memory or time left.
            DiskFullError: there is no room for what it would write.
            CancelledError: the deployment was withdrawn, or the agent is stopping.
            EdgectlError: the builder's own refusal, such as an operator that it does not know.
        """
        return [self._one(release, manifest, component, note) for component in _unbuilt(manifest)]

    def _one(self, release: Digest, manifest: Manifest, component: Component, note: Callable[[str], None]) -> str:
        derived, source = self._store.derived, source_of(component, manifest)
        worker = self._pool.start(self._interpreters.of(component.runtime), key=release.hex, builds=True)
        try:
            bound_to = _bound_to(worker, component)
            key, words = key_of(source, bound_to), _words(component, bound_to)
            if derived.intact(key):
                return f"{words} was built before"
            self._store.check_room(build_bytes(component, manifest), f"building {component.name!r}")
            begun = time.monotonic()
            # It vanishes with the worker, whatever becomes of the build.
            out = (self._pool.scratch(release.hex) or self._layout.scratch) / "built"
            with room(out):
                self._pool.give(out)
            note(f"building {words}, which takes minutes")
            built = self._ask(worker, release, component, out, note)
            # Before anything of it is looked at: a builder could put a link in the place of what was.
            held = derived.take(out, key)
            self._pool.end(release.hex)
            try:
                with room(held):
                    self._pool.take_back(held)
                derived.publish(held, key, source, bound_to, built)
            finally:
                derived.discard(held)
            derived.drop_others(source, key)
        finally:
            self._pool.end(release.hex)
        layers = ", ".join(f"{count} layers {precision}" for precision, count in sorted(built.layers.items()))
        return f"built {words} in {time.monotonic() - begun:.0f} s" + (f" ({layers})" if layers else "")

    def _ask(
        self, worker: WorkerProcess, release: Digest, component: Component, out: Path, note: Callable[[str], None]
    ) -> messages.Built:
        folder = self._layout.release(release) / safe_path(component.folder)
        artifact = folder / safe_path(component.entry) if component.entry else folder
        request = messages.Build(component, str(artifact), str(out), str(self._layout.builders_cache))
        noted = 0

        def on_progress(progress: messages.Progress) -> None:
            nonlocal noted
            if (tenths := int(progress.progress * _NOTES)) > noted:
                noted = tenths
                note(f"building {component.name!r}: {progress.progress:.0%}")

        with _Watch(worker, self._available, self._spare_bytes) as watch:
            try:
                return worker.ask(request, messages.Built, timeout_s=self._timeout_s, on_progress=on_progress)
            except CancelledError as exc:
                if watch.left_bytes is None:
                    raise
                raise BuildError(
                    f"building {component.name!r} was ended: it left {watch.left_bytes >> 20} MiB of memory, and "
                    f"{self._spare_bytes >> 20} MiB are kept for the loop",
                    hint="free memory on the device, or give the builder less: a smaller workspace in its recipe",
                ) from exc
            except WorkerError as exc:
                raise self._died(component, exc) from exc

    def _died(self, component: Component, error: WorkerError) -> BuildError:
        if "in time" in error.message:
            what = f"did not end within {self._timeout_s:.0f} s and was ended"
            return BuildError(f"building {component.name!r} {what}", hint=error.hint)
        if "(SIGKILL)" in error.message:
            return BuildError(
                f"the builder of {component.name!r} was killed by the system (SIGKILL), most likely for want of memory",
                hint=f"free memory on the device, or add swap, then deploy again; {error.hint}",
            )
        return BuildError(f"the builder of {component.name!r} died: {error.message}", hint=error.hint)


class _Watch:
    """Ends a builder before it takes the machine's last memory; `left_bytes` is what there was then."""

    def __init__(self, worker: WorkerProcess, available: Callable[[], int | None], spare_bytes: int) -> None:
        self._worker = worker
        self._available = available
        self._spare_bytes = spare_bytes
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, name="build-memory", daemon=True)
        self.left_bytes: int | None = None

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(_LOOK_S):
            left = self._available()
            if left is not None and left < self._spare_bytes:
                self.left_bytes = left
                self._worker.kill()
                return


def _unbuilt(manifest: Manifest) -> list[Component]:
    return [component for component in manifest.components if component.recipe is not None]


def _bound_to(worker: WorkerProcess, component: Component) -> dict[str, str]:
    return worker.ask(messages.BoundTo(component.runtime), messages.BoundToReply, timeout_s=_ASK_S).facts


def _words(component: Component, bound_to: dict[str, str]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in bound_to.items())
    return f"{component.name!r} with {component.runtime}" + (f" ({facts})" if facts else "")
