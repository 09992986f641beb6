"""What a request means: its card, its loop, its tools, and the key of every step. A look; nothing is made.

A step's key covers what enters it (the key of the step before), its options, the code of its own modules, and the lock
of its toolchain with the versions of the packages that it names. Builds come in variants, the fastest first: variant i
of all components together is one attempt.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgectl_converters.assignment import Assignment, Choice
from edgectl_converters.card import CheckpointCard, digest_of_files
from edgectl_converters.inspect import inspect
from edgectl_converters.loop_file import derive_loop, load_loop
from edgectl_converters.observations import find_footage, instruction
from edgectl_converters.passes.base import Pass
from edgectl_converters.passes.registry import PASSES, pass_of
from edgectl_converters.plan import ConvertRequest
from edgectl_converters.plugins import module_of
from edgectl_converters.sources.base import Source
from edgectl_converters.sources.registry import source
from edgectl_converters.steps import key_of
from edgectl_converters.targets.base import Target
from edgectl_converters.targets.registry import target
from edgectl_converters.toolchain import HOST
from edgectl_converters.workshop import Workshop
from edgectl_protos.codec.document import to_document
from edgectl_protos.domain.errors import RouteError
from edgectl_protos.domain.loop import LoopSpec, SourceKind, check_fits

__all__ = ["CALIBRATION_CALLS", "CALIBRATION_CASES", "CALIBRATION_SEED", "GOLDEN_CASES", "GOLDEN_SEED", "Build", "Job"]

GOLDEN_CASES, GOLDEN_SEED = 8, 20_261
CALIBRATION_CASES, CALIBRATION_SEED = 32, 20_262
CALIBRATION_CALLS = 64
"""More of one component's calls than this teach a quantizer nothing."""
CAPTURE_SCHEME = "fp32"


@dataclass(frozen=True, slots=True)
class Build:
    """One component to be built, with its key."""

    component: str
    target: Target
    scheme: str
    variant: str
    calibrated: bool
    key: str


@dataclass(frozen=True, slots=True)
class Job:
    """A request, resolved. `footage` are the recordings that hold a feature, by their path in the release."""

    request: ConvertRequest
    card: CheckpointCard
    source: Source
    loop: LoopSpec
    footage: Mapping[str, Path]
    task: str
    resized: frozenset[str]
    name: str
    passes: tuple[tuple[Pass, str], ...]
    attempts: tuple[tuple[Build, ...], ...]
    captures: tuple[Build, ...]
    export_key: str
    capture_key: str
    prove_key: str
    bundle_key: str

    @property
    def assignment(self) -> Assignment:
        """What each component becomes."""
        return self.request.assignment

    @property
    def exported_key(self) -> str:
        """The key of the export after all passes."""
        return self.passes[-1][1] if self.passes else self.export_key

    @classmethod
    def read(cls, request: ConvertRequest, workshop: Workshop) -> Job:
        """Resolve a request.

        Raises:
            CheckpointError: the checkpoint is not readable as what it claims to be.
            RouteError: a target cannot build a scheme, or the loop reads what is not in the footage.
            LoopSpecError: the loop file is not valid, or does not fit the policy.
            UsageError: the assignment names a component that the policy does not have.
            ToolchainError: a toolchain's choice cannot be read, or a package is missing.
        """
        card = inspect(request.checkpoint, workshop.digests)
        _check_assignment(request.assignment, card.components)
        footage = _footage_files(card, request.footage)
        loop = _loop(request, card)
        used = {one.path for one in loop.sources if one.path}
        if missing := sorted(used - set(footage)):
            raise RouteError(f"the loop reads {missing[0]!r}, which is not in the footage", hint="--footage DIR")
        task = _task(request, loop)
        resized = frozenset(one.feature for one in loop.sources if one.resize)
        keys = _Keys(request, card, workshop, footage, task, resized)
        workshop.digests.save()
        name = request.name or card.name
        return cls(
            request=request,
            card=card,
            source=source(card.source),
            loop=loop,
            footage=footage,
            task=task,
            resized=resized,
            name=name,
            passes=keys.passes,
            attempts=keys.attempts,
            captures=keys.captures,
            export_key=keys.export,
            capture_key=keys.capture,
            prove_key=keys.prove,
            bundle_key=key_of(
                step="bundle",
                # The one key that the manifest's own schema is part of.
                code=workshop.code.digest("edgectl_converters.release", without=()),
                proved=keys.prove,
                loop=to_document(loop),
                footage=keys.footage,
                name=name,
            ),
        )


class _Keys:
    """The keys of a job's steps."""

    def __init__(
        self,
        request: ConvertRequest,
        card: CheckpointCard,
        workshop: Workshop,
        footage: Mapping[str, Path],
        task: str,
        resized: frozenset[str],
    ) -> None:
        self._workshop = workshop
        self._card = card
        self._assignment = request.assignment
        root = request.footage
        self.footage = str(digest_of_files(root, footage.values(), workshop.digests)) if root else ""
        self._seen = {"footage": self.footage, "task": task, "resized": sorted(resized) if footage else []}
        code = workshop.code
        self.export = key_of(
            step="export",
            code=[code.digest(module_of(source(card.source))), code.digest("edgectl_converters.observations")],
            checkpoint=str(card.digest),
            cases=GOLDEN_CASES,
            seed=GOLDEN_SEED,
            lock=self._lock(card.toolchain, ()),
            **self._seen,
        )
        passes = []
        last = self.export
        for name in PASSES:
            chosen = pass_of(name)
            if not all(chosen.suits(self._target(component)) for component in card.components):
                continue
            lock = self._lock(chosen.toolchain, chosen.packages)
            last = key_of(step="pass", name=name, code=code.digest(module_of(chosen)), lock=lock, export=last)
            passes.append((chosen, last))
        self.passes = tuple(passes)
        self._exported = last
        self.captures = self._attempt(0, CAPTURE_SCHEME)
        self.capture = key_of(
            step="capture",
            code=[*self._worker_code(), code.digest("edgectl_converters.observations")],
            builds=[build.key for build in self.captures],
            components=[name for name in card.components if self._target(name).needs_calibration(self._scheme(name))],
            cases=CALIBRATION_CASES,
            calls=CALIBRATION_CALLS,
            seed=CALIBRATION_SEED,
            **self._seen,
        )
        count = max(len(self._target(name).variants(self._scheme(name))) for name in card.components)
        self.attempts = tuple(self._attempt(index) for index in range(count))
        self.prove = key_of(
            step="prove",
            code=[*self._worker_code(), code.digest("edgectl_converters.gates")],
            attempts=[[build.key for build in attempt] for attempt in self.attempts],
        )

    def _attempt(self, index: int, scheme: str = "") -> tuple[Build, ...]:
        builds = []
        for name in self._card.components:
            chosen, wanted = self._target(name), scheme or self._scheme(name)
            variants = chosen.variants(wanted)
            variant = variants[min(index, len(variants) - 1)]
            calibrated = chosen.needs_calibration(wanted)
            key = key_of(
                step="build",
                code=self._workshop.code.digest(module_of(chosen)),
                export=self._exported,
                component=name,
                runtime=chosen.name,
                scheme=wanted,
                variant=variant,
                calibration=self.capture if calibrated else "",
                lock=self._lock(chosen.toolchain, chosen.packages),
            )
            builds.append(Build(name, chosen, wanted, variant, calibrated, key))
        return tuple(builds)

    def _target(self, component: str) -> Target:
        return target(self._assignment.runtime.of(component))

    def _scheme(self, component: str) -> str:
        return self._assignment.scheme.of(component)

    @functools.cached_property
    def _locks(self) -> dict[tuple[str, tuple[str, ...]], str]:
        return {}

    def _lock(self, toolchain: str, packages: tuple[str, ...]) -> str:
        """The lock, with the versions of these packages where the toolchain is the host."""
        found = self._locks.get((toolchain, packages))
        if found is None:
            chains = self._workshop.toolchains
            found = chains.host(packages).lock if toolchain == HOST else chains.lock_of(toolchain)
            self._locks[toolchain, packages] = found
        return found

    def _worker_code(self) -> list[str]:
        code = self._workshop.code
        runtimes = sorted({self._assignment.runtime.of(name) for name in self._card.components})
        modules = ["edgectl_agent.worker.serve", *(f"edgectl_agent.worker.runtimes.{name}" for name in runtimes)]
        return [code.digest(module) for module in modules]


def _check_assignment(assignment: Assignment, components: tuple[str, ...]) -> None:
    for choice in (assignment.runtime, assignment.scheme):
        choice.check_names(components)
    for component in components:
        runtime, scheme = assignment.runtime.of(component), assignment.scheme.of(component)
        schemes = target(runtime).schemes
        if scheme not in schemes:
            raise RouteError(
                f"edgectl builds no {scheme} for {runtime}; it builds: {', '.join(schemes)}",
                hint=f"--scheme {Choice(schemes[0])}",
            )


def _loop(request: ConvertRequest, card: CheckpointCard) -> LoopSpec:
    if request.loop_file is None:
        return derive_loop(card.policy, request.footage, task=request.task)
    loop = load_loop(request.loop_file, card.policy)
    if request.task:
        sources = (replace(s, text=request.task) if s.kind is SourceKind.TEXT else s for s in loop.sources)
        loop = replace(loop, sources=tuple(sources))
        check_fits(loop, card.policy)
    return loop


def _task(request: ConvertRequest, loop: LoopSpec) -> str:
    """The instruction of golden cases; empty for examples."""
    said = instruction(request.footage, request.task)
    written = next((source.text for source in loop.sources if source.kind is SourceKind.TEXT), "")
    return said or (written if request.loop_file is not None else "")


def _footage_files(card: CheckpointCard, footage: Path | None) -> dict[str, Path]:
    if footage is None:
        return {}
    found = (find_footage(footage, feature.name) for feature in card.policy.observations)
    return {file.name: file for file, _ in filter(None, found)}
