"""The processes of one conversion: that of a toolchain, and the workers that run a release. All end with it, and before
where the brake is pulled.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TypeVar

from edgectl_converters.gates import HostWorker
from edgectl_converters.homes import homes_of, seat_of
from edgectl_converters.process import Request, ToolchainProcess
from edgectl_converters.toolchain import HOST
from edgectl_converters.workshop import Progress, Workshop
from edgectl_protos.domain.bundle import Manifest

__all__ = ["Processes"]

T = TypeVar("T")


class Processes:
    """Each is started when it is first asked for. A context: they end with it."""

    def __init__(self, workshop: Workshop, progress: Progress) -> None:
        self._shop = workshop
        self._progress = progress
        self._held = ExitStack()
        self._toolchain = self._held.enter_context(ToolchainProcess())
        self._held.enter_context(workshop.brake.held_by(self._toolchain.kill))
        self._worker: HostWorker | None = None

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.__exit__(kind, error, trace)

    def run(self, toolchain: str, request: Request, report: type[T]) -> T:
        """Run a request in a toolchain, which is made if need be.

        Raises:
            ToolchainError: it cannot be made, or its process died.
            EdgectlError: the failure that it reports.
        """
        found = self._shop.toolchains.get(toolchain, self._progress)
        if self._worker is not None:
            # Quantizers want the memory.
            self._worker.unload()
        return self._toolchain.run(found, request, report, self._progress)

    def host_worker(self) -> HostWorker:
        """The worker in edgectl's own environment."""
        if self._worker is None:
            self._worker = self._start(self._shop.worker, self._shop.toolchains.host().environment())
        return self._worker

    def judge(self, manifest: Manifest) -> tuple[HostWorker, Mapping[str, str]]:
        """The worker that judges a release, and the Pythons of runtimes that its own does not hold.

        Raises:
            ToolchainError: a toolchain in which a runtime lives cannot be made.
        """
        runtimes = sorted({component.runtime for component in manifest.components})
        homes = homes_of(runtimes, self._shop.toolchains, self._progress)
        seat = seat_of(manifest)
        if seat == HOST or not self._shop.worker:
            return self.host_worker(), homes
        toolchain = self._shop.toolchains.get(seat, self._progress)
        own, *arguments = self._shop.worker
        worker = self._start((str(toolchain.python), *arguments), toolchain.environment())
        pythons = {runtime: homes.get(runtime, own) for runtime in runtimes}
        return worker, {name: python for name, python in pythons.items() if python != str(toolchain.python)}

    def _start(self, command: tuple[str, ...], environment: dict[str, str]) -> HostWorker:
        shop = self._shop
        log = self._held.enter_context(shop.steps.work_folder()) / "log"
        worker = HostWorker(command, environment, log, threads=shop.threads, timeout_s=shop.timeout_s)
        self._held.enter_context(shop.brake.held_by(worker.kill))
        return self._held.enter_context(worker)
