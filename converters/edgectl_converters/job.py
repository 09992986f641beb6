"""What a request means: its card, its loop, its tools, and the key of every step. A look: nothing is made, but that a
dataset given as footage is unpacked into the cache.

A step's key covers what enters it (the key of the step before), its options, the code of its own modules, and the lock
of its toolchain with the versions of the packages that it names. Builds come in variants, the fastest first: variant i
of all components together is one attempt.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgectl_converters.assignment import Assignment, Choice
from edgectl_converters.card import CheckpointCard, as_it_is, digest_of_files, unread
from edgectl_converters.inspect import inspect
from edgectl_converters.loop_file import derive_loop, load_loop
from edgectl_converters.observations import instruction, match_footage
from edgectl_converters.observations.dataset import action_dimensions
from edgectl_converters.observations.opened import open_footage
from edgectl_converters.passes.base import Pass
from edgectl_converters.passes.registry import PASSES, pass_of
from edgectl_converters.plan import ConvertRequest
from edgectl_converters.plugins import module_of
from edgectl_converters.sources.base import Source
from edgectl_converters.sources.oracle import oracle_versions
from edgectl_converters.sources.registry import source
from edgectl_converters.steps import key_of
from edgectl_converters.targets.base import Target
from edgectl_converters.targets.registry import TARGETS, target
from edgectl_converters.toolchain import HOST
from edgectl_converters.workshop import Workshop
from edgectl_protos.codec.document import to_document
from edgectl_protos.domain.errors import RouteError, ToolchainError
from edgectl_protos.domain.loop import LoopSpec, SourceKind, check_fits

__all__ = ["CALIBRATION_CALLS", "CALIBRATION_CASES", "CALIBRATION_SEED", "GOLDEN_CASES", "GOLDEN_SEED", "Build", "Job"]

GOLDEN_CASES, GOLDEN_SEED = 8, 20_261
CALIBRATION_CASES, CALIBRATION_SEED = 32, 20_262
CALIBRATION_CALLS = 64
"""More of one component's calls than this teach a quantizer nothing."""
CAPTURE_SCHEME = "fp32"


@dataclass(frozen=True, slots=True)
class Build:
    """One component to be built, with its key; `rank_key` is that of the ranking of its layers, if it needs one,
    `options` what its target reads of the board.
    """

    component: str
    target: Target
    scheme: str
    variant: str
    calibrated: bool
    key: str
    rank_key: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """A request, resolved. `footage` are the recordings that hold a feature, by their path in the release, `recorded`
    those features.
    """

    request: ConvertRequest
    card: CheckpointCard
    source: Source
    loop: LoopSpec
    footage: Mapping[str, Path]
    recorded: frozenset[str]
    task: str
    resized: frozenset[str]
    name: str
    forms: tuple[str, ...]
    export_toolchain: str
    passes: tuple[tuple[Pass, str], ...]
    attempts: tuple[tuple[Build, ...], ...]
    oracle: tuple[Build, ...]
    traceable: bool
    export_key: str
    trace_key: str
    capture_key: str
    prove_key: str
    bundle_key: str

    @property
    def assignment(self) -> Assignment:
        """What each component becomes."""
        return self.request.assignment

    @classmethod
    def read(cls, request: ConvertRequest, workshop: Workshop) -> Job:
        """Resolve a request.

        Raises:
            CheckpointError: the checkpoint is not readable as what it claims to be.
            RouteError: a target cannot build a scheme, or the loop reads what is not in the footage.
            LoopSpecError: the loop file is not valid, or does not fit the policy.
            UsageError: the assignment names a component that the policy does not have.
            ToolchainError: a toolchain's choice cannot be read, or a package is missing.
            SourceError: there is no such footage, or nothing of the policy in it.
        """
        card = inspect(request.checkpoint, workshop.digests, request.declared, request.footage)
        dimensions = action_dimensions(card.policy, request.footage) or card.policy.dimensions
        card = replace(card, policy=replace(card.policy, dimensions=dimensions))
        request = replace(request, footage=open_footage(card.policy, request.footage, workshop))
        _check_assignment(request.assignment, card)
        matched = match_footage(card.policy, request.footage)
        footage = {file.name: file for file in matched.values()}
        loop = _loop(request, card)
        used = {one.path for one in loop.sources if one.path}
        if missing := sorted(used - set(footage)):
            raise RouteError(
                f"the loop reads {missing[0]!r}, which is not in the footage",
                hint=f"--footage DIR, with {missing[0]} in it",
            )
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
            recorded=frozenset(matched),
            task=task,
            resized=resized,
            name=name,
            forms=keys.forms,
            export_toolchain=keys.export_toolchain,
            passes=keys.passes,
            attempts=keys.attempts,
            oracle=keys.oracle,
            traceable=keys.traceable,
            export_key=keys.export,
            trace_key=keys.trace,
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
        self.traceable = (oracle := self._find_oracle()) is not None
        forms = {self._form(self._target(component)) for component in card.components}
        self.forms = tuple(sorted(forms | ({self._form(oracle)} if oracle else set())))
        self.export_toolchain = card.toolchain_of(self.forms)
        self.export = key_of(
            step="export",
            code=[code.digest(module_of(source(card.source))), code.digest("edgectl_converters.observations")],
            checkpoint=str(card.digest),
            cases=GOLDEN_CASES,
            seed=GOLDEN_SEED,
            dimensions=to_document(card.policy.dimensions),
            declared=to_document(card.declared),
            oracles=oracle_versions() if card.toolchain == HOST else {},
            forms=self.forms,
            lock=self._lock(self.export_toolchain, ()),
            **self._seen,
        )
        passes = []
        last = self.export
        for name in PASSES:
            chosen = pass_of(name)
            built = [self._target(component) for component in card.components]
            if not all(chosen.suits(one) and self._form(one) in chosen.reads for one in built):
                continue
            lock = self._lock(chosen.toolchain, chosen.packages)
            last = key_of(step="pass", name=name, code=code.digest(module_of(chosen)), lock=lock, export=last)
            passes.append((chosen, last))
        self.passes = tuple(passes)
        self._exported = last
        self.oracle = self._attempt(0, CAPTURE_SCHEME, oracle)
        judged = [
            *self._worker_code(build.target.name for build in self.oracle),
            code.digest("edgectl_converters.gates"),
        ]
        self.trace = key_of(step="trace", code=judged, builds=[build.key for build in self.oracle])
        self.capture = key_of(
            step="capture",
            code=[*judged, code.digest("edgectl_converters.observations")],
            builds=[build.key for build in self.oracle],
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
            code=[*self._worker_code(map(self._runtime, card.components)), *judged],
            trace=self.trace if self.traceable else "",
            attempts=[[build.key for build in attempt] for attempt in self.attempts],
        )

    def _find_oracle(self) -> Target | None:
        """The target whose runtime computes graphs as they were exported, if its packages are here."""
        for name in TARGETS:
            found = target(name)
            if found.oracle is not None and self._form(found):
                try:
                    self._lock(found.toolchain, found.packages)
                except ToolchainError:
                    continue
                return found
        return None

    def _attempt(self, index: int, scheme: str = "", only: Target | None = None) -> tuple[Build, ...]:
        builds = []
        for name in self._card.components:
            chosen, wanted = only or self._target(name), scheme or self._scheme(name)
            variants = chosen.variants(wanted)
            variant = variants[min(index, len(variants) - 1)]
            calibrated = chosen.needs_calibration(wanted)
            # The oracle runs on this host, whatever the board is.
            options = {} if only else self._assignment.options_of(chosen.name)
            given = {
                "code": self._workshop.code.digest(module_of(chosen)),
                "export": self._exported,
                "component": name,
                "runtime": chosen.name,
                "scheme": wanted,
                "calibration": self.capture if calibrated else "",
                "lock": self._lock(chosen.toolchain, chosen.packages),
                "options": options,
            }
            # The same for every variant that needs it.
            rank_key = key_of(step="rank", **given) if chosen.needs_ranking(variant) else ""
            key = key_of(step="build", variant=variant, **given)
            builds.append(Build(name, chosen, wanted, variant, calibrated, key, rank_key, options))
        return tuple(builds)

    def _form(self, chosen: Target) -> str:
        return chosen.form_of(self._card.forms)

    def _runtime(self, component: str) -> str:
        return self._assignment.runtime.of(component)

    def _target(self, component: str) -> Target:
        return target(self._runtime(component))

    def _scheme(self, component: str) -> str:
        """What is built: a graph that is quantised already is taken as it is, whatever it is called."""
        return CAPTURE_SCHEME if self._card.schemes else self._assignment.scheme.of(component)

    @functools.cached_property
    def _locks(self) -> dict[tuple[str, tuple[str, ...]], str]:
        return {}

    def _lock(self, toolchain: str, packages: tuple[str, ...]) -> str:
        """The lock, with the versions of these packages where the toolchain is the host."""
        found = self._locks.get((toolchain, packages))
        if found is None:
            found = self._workshop.toolchains.lock_of(toolchain, packages)
            self._locks[toolchain, packages] = found
        return found

    def _worker_code(self, runtimes: Iterable[str]) -> list[str]:
        names = sorted(set(runtimes))
        modules = ["edgectl_agent.worker.serve", *(f"edgectl_agent.worker.runtimes.{name}" for name in names)]
        return [self._workshop.code.digest(module) for module in modules]


def _check_assignment(assignment: Assignment, card: CheckpointCard) -> None:
    for choice in (assignment.runtime, assignment.scheme):
        choice.check_names(card.components)
    for component in card.components:
        runtime, scheme = assignment.runtime.of(component), assignment.scheme.of(component)
        schemes = target(runtime).schemes
        if card.schemes and scheme not in card.schemes:
            raise RouteError(as_it_is(card), hint=f"--scheme {card.schemes[0]}, or leave --scheme out")
        if not target(runtime).form_of(card.forms):
            raise RouteError(
                unread(card, runtime, target(runtime).reads), hint="another runtime may: edgectl inspect CHECKPOINT"
            )
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
