"""Does the steps of a job: export → passes → capture → builds → prove → bundle.

Each asks for the ones before it only when it is not in the cache itself, and data enters it once: a typed request, and
folders. Every step that is used is held until the end, so that nothing is trimmed under it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from edgectl_converters.assignment import Assignment, Choice
from edgectl_converters.gates import DeviceWorker, Proved, capture, prove
from edgectl_converters.golden import check_golden
from edgectl_converters.job import (
    CALIBRATION_CALLS,
    CALIBRATION_CASES,
    CALIBRATION_SEED,
    CAPTURE_SCHEME,
    GOLDEN_CASES,
    GOLDEN_SEED,
    Build,
    Job,
)
from edgectl_converters.loop_file import derive_loop
from edgectl_converters.observations import check_footage, observe
from edgectl_converters.passes.base import Pass, PassRequest
from edgectl_converters.process import run_in_toolchain
from edgectl_converters.release import Parts, lay_out, write_bundle
from edgectl_converters.sources.base import Export, ExportRequest
from edgectl_converters.steps import Finished
from edgectl_converters.targets.base import BuildRequest, Built
from edgectl_converters.toolchain import HOST, Toolchain
from edgectl_converters.workshop import Progress, Workshop
from edgectl_protos.domain.bundle import GateResult, Provenance, ToolRun
from edgectl_protos.domain.errors import NonFiniteError, ParityError, RouteError
from edgectl_protos.domain.policy import check_components, check_program
from edgectl_protos.worker.messages import Capture

__all__ = ["Bundled", "Captured", "Stages"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Captured:
    """Calls written, by component: `<component>.npz` in the step's folder."""

    calls: dict[str, int]


@dataclass(frozen=True, slots=True)
class Bundled:
    """A finished bundle: the step's folder."""

    name: str


class Stages:
    """One run of a job's steps. A context: what it uses is held until it ends."""

    def __init__(self, job: Job, workshop: Workshop, progress: Progress) -> None:
        self._job = job
        self._shop = workshop
        self._progress = progress
        self._held = ExitStack()
        self._done: dict[str, Finished[object]] = {}

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def export(self) -> Finished[Export]:
        """The policy as data, its components in the hub form, its golden cases."""
        job = self._job

        def make(out: Path) -> Export:
            policy, footage = job.card.policy, job.request.footage
            if footage is not None:
                check_footage(policy, footage, resized=job.resized)
            with self._shop.steps.work_folder() as work:
                toolchain = self._shop.toolchains.get(job.card.toolchain, self._progress)
                self._observe(work / "observations.npz", GOLDEN_CASES, GOLDEN_SEED)
                request = ExportRequest(
                    source=job.source.name,
                    checkpoint=str(job.card.path.absolute()),
                    out=str(out),
                    observations=str(work / "observations.npz"),
                    inputs_kind="recorded" if job.footage else "synthetic",
                    seed=GOLDEN_SEED,
                )
                export = run_in_toolchain(toolchain, request, Export, self._progress)
            check_program(export.policy, export.program)
            check_components(export.program, export.policy, {c.name: (c.inputs, c.outputs) for c in export.components})
            check_golden(export, out)
            return export

        return self._step(job.export_key, Export, make, "export", job.name, job.source.name)

    def exported(self) -> Finished[Export]:
        """The export after all passes."""
        last: Callable[[], Finished[Export]] = self.export
        for chosen, key in self._job.passes:
            last = self._pass(chosen, key, last)
        return last()

    def _pass(self, chosen: Pass, key: str, before: Callable[[], Finished[Export]]) -> Callable[[], Finished[Export]]:
        def make(out: Path) -> Export:
            entering = before()
            toolchain = self._shop.toolchains.get(chosen.toolchain, self._progress)
            request = PassRequest(chosen.name, entering.report, str(entering.folder), str(out))
            return run_in_toolchain(toolchain, request, Export, self._progress)

        return lambda: self._step(key, Export, make, "pass", self._job.name, chosen.name, before)

    def captured(self) -> Finished[Captured]:
        """What enters the components that are calibrated, on recorded or synthetic observations, in fp32."""
        job = self._job
        wanted = sorted({build.component for attempt in job.attempts for build in attempt if build.calibrated})

        def make(out: Path) -> Captured:
            parts = self._parts(job.captures, CAPTURE_SCHEME, golden=False)
            with self._shop.steps.work_folder() as work:
                self._observe(work / "observations.npz", CALIBRATION_CASES, CALIBRATION_SEED)
                lay_out(parts, work / "release", self._shop.digests)
                requests = tuple(
                    Capture(name, str(work / "observations.npz"), str(out / f"{name}.npz"), CALIBRATION_CALLS)
                    for name in wanted
                )
                return Captured(capture(self._worker(), work / "release", work / "log", requests, self._progress))

        def before() -> None:
            for build in job.captures:
                self._build(build)

        return self._step(
            job.capture_key, Captured, make, "capture", ", ".join(wanted), str(job.assignment.runtime), before
        )

    def _build(self, build: Build) -> Finished[Built]:
        def make(out: Path) -> Built:
            exported = self.exported()
            component = next(c for c in exported.report.components if c.name == build.component)
            chosen = build.target
            if component.form not in chosen.reads:
                raise RouteError(
                    f"{chosen.name} reads {', '.join(chosen.reads)}; {component.name} was exported as {component.form}"
                )
            calibration = str(self.captured().folder / f"{component.name}.npz") if build.calibrated else ""
            request = BuildRequest(
                runtime=chosen.name,
                component=component.name,
                form=component.form,
                graph=str(exported.folder / component.file),
                inputs=component.inputs,
                outputs=component.outputs,
                scheme=build.scheme,
                variant=build.variant,
                calibration=calibration,
                out=str(out),
            )
            toolchain = self._shop.toolchains.get(chosen.toolchain, self._progress)
            return run_in_toolchain(toolchain, request, Built, self._progress)

        def before() -> None:
            self.exported()
            if build.calibrated:
                self.captured()

        tool = f"{build.target.name} {build.scheme}"
        return self._step(build.key, Built, make, "build", build.component, tool, before)

    def proved(self) -> Finished[Proved]:
        """The gates, on the first attempt that passes them."""
        job = self._job

        def make(out: Path) -> Proved:
            *earlier, last = range(len(job.attempts))
            for index in earlier:
                try:
                    return Proved(index, self._prove(index))
                except (ParityError, NonFiniteError) as exc:
                    words = ", ".join(dict.fromkeys(build.variant for build in job.attempts[index]))
                    self._progress(f"{words} did not pass: {exc.message}")
            return Proved(last, self._prove(last))

        def before() -> None:
            for build in job.attempts[0]:
                self._build(build)

        return self._step(job.prove_key, Proved, make, "prove", job.name, str(job.assignment), before)

    def _prove(self, attempt: int) -> tuple[GateResult, ...]:
        parts = self._parts(self._job.attempts[attempt])
        with self._shop.steps.work_folder() as work:
            manifest = lay_out(parts, work / "release", self._shop.digests)
            return prove(self._worker(), work / "release", work / "log", manifest, self._progress)

    def bundle(self) -> Finished[Bundled]:
        """The bundle."""
        job = self._job

        def make(out: Path) -> Bundled:
            proved = self.proved().report
            parts = self._parts(job.attempts[proved.variant])
            if job.request.footage is not None:
                check_footage(job.card.policy, job.request.footage, resized=job.resized)
            write_bundle(parts, proved.gates, out, self._shop.steps.root)
            return Bundled(job.name)

        def before() -> None:
            for build in job.attempts[self.proved().report.variant]:
                self._build(build)

        return self._step(job.bundle_key, Bundled, make, "bundle", job.name, "", before)

    def _parts(self, builds: tuple[Build, ...], scheme: str = "", *, golden: bool = True) -> Parts:
        job, exported = self._job, self.exported()
        built = {build.component: self._build(build) for build in builds}
        assignment = Assignment(job.assignment.runtime, Choice(scheme)) if scheme else job.assignment
        return Parts(
            name=job.name,
            export=exported.report,
            folder=exported.folder,
            assignment=assignment,
            builds={name: (one.report, one.folder) for name, one in built.items()},
            loop=job.loop if golden else derive_loop(job.card.policy, task=job.task),
            footage=job.footage if golden else {},
            provenance=self._provenance(exported.report, builds, {name: one.report for name, one in built.items()}),
            golden=golden,
        )

    def _provenance(self, export: Export, builds: tuple[Build, ...], built: dict[str, Built]) -> Provenance:
        job = self._job
        chain = job.card.toolchain
        tools = [ToolRun("export", job.source.name, export.versions, chain, self._lock(chain))]
        tools += [
            ToolRun(chosen.name, chosen.name, {}, chosen.toolchain, self._lock(chosen.toolchain, chosen.packages))
            for chosen, _ in job.passes
        ]
        for build in builds:
            options = {"scheme": build.scheme, "variant": build.variant, **built[build.component].settings}
            lock = self._lock(build.target.toolchain, build.target.packages)
            tools.append(ToolRun(f"build {build.component}", build.target.name, options, build.target.toolchain, lock))
        return Provenance(job.card.digest, job.card.source, tuple(tools))

    def _lock(self, toolchain: str, packages: tuple[str, ...] = ()) -> str:
        chains = self._shop.toolchains
        return chains.host(packages).lock if toolchain == HOST else chains.lock_of(toolchain)

    def _observe(self, path: Path, count: int, seed: int) -> None:
        import numpy as np

        job = self._job
        spread = job.source.spread(job.card.path)
        footage, policy, resized = job.request.footage, job.card.policy, job.resized
        raw = observe(policy, footage, spread, count=count, seed=seed, task=job.task, resized=resized)
        with open(path, "wb") as file:
            np.savez(file, allow_pickle=False, **raw)

    def _worker(self) -> DeviceWorker:
        host: Toolchain = self._shop.toolchains.host()
        return DeviceWorker(self._shop.worker, host.environment(), self._shop.threads, self._shop.timeout_s)

    def _step(
        self,
        key: str,
        report: type[T],
        make: Callable[[Path], T],
        kind: str,
        subject: str,
        tool: str,
        before: Callable[[], object] | None = None,
    ) -> Finished[T]:
        """The step, from the cache or made; those `before` it are asked for only if it has to be made."""
        known = self._done.get(key)
        if known is not None:
            return known  # type: ignore[return-value] # one key has one kind of report
        self._held.enter_context(self._shop.steps.hold(key))
        found = self._shop.steps.find(key, report)
        if found is None:
            if before is not None:
                before()
            weight = self._job.card.size_bytes
            found = self._shop.steps.make(key, report, make, kind=kind, subject=subject, tool=tool, weight=weight)
        self._done[key] = found  # type: ignore[assignment]
        return found
