"""Does the steps of a job: export → passes → trace, capture → ranks → builds → prove → bundle.

Each asks for the ones before it only when it is not in the cache itself, and data enters it once: a typed request, and
folders. Every step that is used is held until the end, so that nothing is trimmed under it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from edgectl_converters.assignment import Assignment, Choice
from edgectl_converters.floors import Counted, CountedComponent, work_key
from edgectl_converters.gates import Proved, capture, judge_oracle, prove, refusal, trace
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
from edgectl_converters.observations import check_footage, coinciding, words_for
from edgectl_converters.observing import check_ranges, origins_of_job, write_observations
from edgectl_converters.passes.base import Pass, PassRequest
from edgectl_converters.processes import Processes
from edgectl_converters.provenance import provenance_of
from edgectl_converters.release import TRACE, Parts, lay_out, write_bundle
from edgectl_converters.sources.base import ONNX, Export, ExportedComponent, ExportRequest
from edgectl_converters.steps import Finished
from edgectl_converters.targets.base import BuildRequest, Built, Ranking, RankRequest
from edgectl_converters.work import count
from edgectl_converters.workshop import Progress, Workshop
from edgectl_protos.domain.bundle import GateResult
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    GateError,
    NonFiniteError,
    OperatorError,
    ParityError,
    PrecisionError,
    RuntimeMissingError,
)
from edgectl_protos.domain.parity import ParityReport
from edgectl_protos.domain.program_checks import check_components, check_program
from edgectl_protos.domain.roofline import Work, calls_of
from edgectl_protos.worker.messages import Capture

__all__ = ["Bundled", "Captured", "Stages", "Traced"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Traced:
    """What the oracle did inside the program, in the step's folder, and how far it is from the golden actions; no
    report: it cannot run here, for this reason.
    """

    report: ParityReport | None
    why: str = ""


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
        self._processes = self._held.enter_context(Processes(workshop, progress))
        self._oracle: Path | None = None
        self._done: dict[str, Finished[object]] = {}

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.__exit__(kind, error, trace)

    def export(self) -> Finished[Export]:
        """The policy as data, its components in the hub form, its golden cases."""
        job = self._job

        def make(out: Path) -> Export:
            policy, footage = job.card.policy, job.request.footage
            if footage is not None:
                check_footage(policy, footage, resized=job.resized)
            with self._shop.steps.work_folder() as work:
                write_observations(job, work / "observations.npz", GOLDEN_CASES, GOLDEN_SEED)
                request = ExportRequest(
                    source=job.source.name,
                    checkpoint=str(job.card.path.absolute()),
                    out=str(out),
                    observations=str(work / "observations.npz"),
                    inputs_kind=words_for(origins_of_job(job)),
                    seed=GOLDEN_SEED,
                    forms=job.forms,
                    declared=job.card.declared,
                )
                made = self._processes.run(job.export_toolchain, request, Export)
                dimensions = job.card.policy.dimensions or made.policy.dimensions
                counted = tuple(replace(one, work=_work(one, out)) for one in made.components)
                export = replace(made, policy=replace(made.policy, dimensions=dimensions), components=counted)
            check_program(export.policy, export.program)
            check_components(export.program, export.policy, {c.name: (c.inputs, c.outputs) for c in export.components})
            check_golden(export, out)
            self._keep_work(export)
            return export

        return self._step(job.export_key, Export, make, "export", job.name, job.source.name)

    def _keep_work(self, export: Export) -> None:
        """Keep what was counted, for plans that are made before anything is converted."""
        calls = calls_of(export.program)
        components = (CountedComponent(one.name, calls.get(one.name, 0), one.work) for one in export.components)
        counted, card = Counted(tuple(components)), self._job.card
        self._shop.steps.make(
            work_key(card),
            Counted,
            lambda _: counted,
            kind="count",
            subject=self._job.name,
            tool=self._job.source.name,
            weight=card.size_bytes,
        )

    def exported(self) -> Finished[Export]:
        """The export after all passes."""
        last: Callable[[], Finished[Export]] = self.export
        for chosen, key in self._job.passes:
            last = self._pass(chosen, key, last)
        return last()

    def _pass(self, chosen: Pass, key: str, before: Callable[[], Finished[Export]]) -> Callable[[], Finished[Export]]:
        def make(out: Path) -> Export:
            entering = before()
            request = PassRequest(chosen.name, entering.report, str(entering.folder), str(out))
            return self._processes.run(chosen.toolchain, request, Export)

        return lambda: self._step(key, Export, make, "pass", self._job.name, chosen.name, before)

    def traced(self) -> Finished[Traced] | None:
        """What the oracle does inside the program on the golden cases; None where there is none."""
        job = self._job
        if not job.traceable:
            return None

        def make(out: Path) -> Traced:
            self._progress("tracing the golden cases with the exported graphs as they are")
            try:
                return Traced(trace(self._processes.host_worker(), self._oracle_release(), out / TRACE))
            except (RuntimeMissingError, OperatorError, PrecisionError, BundleCorruptError) as exc:
                return Traced(None, exc.message)

        return self._step(job.trace_key, Traced, make, "trace", job.name, job.oracle[0].target.name, self._build_oracle)

    def captured(self) -> Finished[Captured]:
        """What enters the components that are calibrated, on recorded or synthetic observations, in fp32."""
        job = self._job
        wanted = sorted({build.component for attempt in job.attempts for build in attempt if build.calibrated})

        def make(out: Path) -> Captured:
            with self._shop.steps.work_folder() as work:
                frames = write_observations(job, work / "observations.npz", CALIBRATION_CASES, CALIBRATION_SEED)
                for name, length in frames.items():
                    if coinciding(length, CALIBRATION_CASES, GOLDEN_CASES):
                        self._progress(
                            f"the footage of {name} is short ({length} frames): calibration and proof share some"
                        )
                requests = tuple(
                    Capture(name, str(work / "observations.npz"), str(out / f"{name}.npz"), CALIBRATION_CALLS)
                    for name in wanted
                )
                return Captured(
                    capture(self._processes.host_worker(), self._oracle_release(), requests, self._progress)
                )

        def before() -> None:
            check_ranges(self._job)
            self._build_oracle()

        tool = job.oracle[0].target.name
        return self._step(job.capture_key, Captured, make, "capture", ", ".join(wanted), tool, before)

    def _build_oracle(self) -> None:
        for build in self._job.oracle:
            self._build(build)

    def _oracle_release(self) -> Path:
        """The release of the oracle, laid out once."""
        if self._oracle is None:
            work = self._held.enter_context(self._shop.steps.work_folder())
            lay_out(self._parts(self._job.oracle, CAPTURE_SCHEME), work / "release", self._shop.digests)
            self._oracle = work / "release"
        return self._oracle

    def _build(self, build: Build) -> Finished[Built]:
        def make(out: Path) -> Built:
            request = self._build_request(build, out)
            if build.rank_key:
                request = replace(request, ranking=self._rank(build).report.layers)
            return self._processes.run(build.target.toolchain, request, Built)

        def before() -> None:
            self._before_build(build)
            if build.rank_key:
                self._rank(build)

        tool = f"{build.target.name} {build.scheme}"
        return self._step(build.key, Built, make, "build", build.component, tool, before)

    def _rank(self, build: Build) -> Finished[Ranking]:
        """Which layers of a component lose most in its scheme."""

        def make(out: Path) -> Ranking:
            request = RankRequest(self._build_request(build, out))
            return self._processes.run(build.target.toolchain, request, Ranking)

        tool = f"{build.target.name} {build.scheme}"
        return self._step(
            build.rank_key, Ranking, make, "rank", build.component, tool, lambda: self._before_build(build)
        )

    def _before_build(self, build: Build) -> None:
        self.exported()
        if build.calibrated:
            self.captured()

    def _build_request(self, build: Build, out: Path) -> BuildRequest:
        exported = self.exported()
        component = next(c for c in exported.report.components if c.name == build.component)
        chosen = build.target
        form = chosen.form_of(component.files)
        calibration = str(self.captured().folder / f"{component.name}.npz") if build.calibrated else ""
        return BuildRequest(
            runtime=chosen.name,
            component=component.name,
            form=form,
            graph=str(exported.folder / component.files[form]),
            inputs=component.inputs,
            outputs=component.outputs,
            scheme=build.scheme,
            variant=build.variant,
            calibration=calibration,
            out=str(out),
            options=dict(build.options),
        )

    def proved(self) -> Finished[Proved]:
        """The gates, on the first attempt that passes them."""
        job = self._job

        def make(out: Path) -> Proved:
            refused: dict[str, GateError] = {}
            for index, attempt in enumerate(job.attempts):
                try:
                    return Proved(index, self._prove(index))
                except (ParityError, NonFiniteError, PrecisionError) as exc:
                    words = ", ".join(dict.fromkeys(build.variant for build in attempt))
                    self._progress(f"{words} did not pass: {exc.message}")
                    refused[words] = exc
            raise refusal(refused)

        def before() -> None:
            self.traced()
            for build in job.attempts[0]:
                self._build(build)

        return self._step(job.prove_key, Proved, make, "prove", job.name, str(job.assignment), before)

    def _prove(self, attempt: int) -> tuple[GateResult, ...]:
        traced = self._traced_gate()
        parts = self._parts(self._job.attempts[attempt])
        with self._shop.steps.work_folder() as work:
            release = work / "release"
            manifest = lay_out(parts, release, self._shop.digests)
            read_back = [gate for built, _ in parts.builds.values() for gate in built.gates]
            worker, elsewhere = self._processes.judge(manifest)
            return (*traced, *read_back, *prove(worker, release, manifest, elsewhere, self._progress))

    def _traced_gate(self) -> tuple[GateResult, ...]:
        traced = self.traced()
        if traced is None:
            return ()
        name, found = self._job.oracle[0].target.name, traced.report
        return (judge_oracle(name, self.exported().report.reference, found.report, found.why),)

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

    def _parts(self, builds: tuple[Build, ...], scheme: str = "") -> Parts:
        """Of a release; with a scheme of the oracle's, which reads no footage."""
        job, exported = self._job, self.exported()
        traced = self.traced() if not scheme else None
        built = {build.component: self._build(build) for build in builds}
        assignment = job.assignment
        if scheme:
            runtime = Choice(builds[0].target.name) if job.traceable else assignment.runtime
            assignment = Assignment(runtime, Choice(scheme))
        return Parts(
            name=job.name,
            export=exported.report,
            folder=exported.folder,
            assignment=assignment,
            builds={name: (one.report, one.folder) for name, one in built.items()},
            loop=derive_loop(job.card.policy, task=job.task) if scheme else job.loop,
            footage={} if scheme else job.footage,
            provenance=provenance_of(
                job, exported.report, builds, {name: one.report for name, one in built.items()}, self._shop.toolchains
            ),
            options=builds[0].target.oracle or {} if scheme else {},
            trace=traced.folder / TRACE if traced is not None and traced.report.report is not None else None,
        )

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


def _work(component: ExportedComponent, folder: Path) -> Work | None:
    """The work of one call, of a form in which it can be counted."""
    return count(folder / component.files[ONNX]) if ONNX in component.files else None
