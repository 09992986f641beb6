"""What is deployed: a checkpoint, converted for each assignment, or a bundle as it is.

A subject chooses what a device gets, and makes it. This is where the host meets the converters and the board profiles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from edgectl_converters.assignment import Assignment, Choice
from edgectl_converters.bundle import copy_bundle, is_bundle, read_bundle
from edgectl_converters.card import CheckpointCard, Declared
from edgectl_converters.conversion import Workshop, find_conversion, plan_conversion, run_conversion
from edgectl_converters.floors import ComponentFloor, counted_work, floors_of
from edgectl_converters.inspect import inspect
from edgectl_converters.plan import Conversion, ConversionPlan, ConvertRequest
from edgectl_converters.refusals import known_refusals
from edgectl_converters.route import RoutePlan, RouteRequest, plan_routes
from edgectl_converters.targets.registry import target
from edgectl_converters.toolchain import HOST
from edgectl_host.fleet.inventory import Device
from edgectl_host.workflows.bundle import Bundle, assignment_of
from edgectl_host.workflows.plan import Way
from edgectl_host.workflows.progress import Progress, Update
from edgectl_host.workflows.rates import RateStore
from edgectl_host.workflows.threads import in_thread
from edgectl_profiles.library import detect, load
from edgectl_profiles.schema import Unit
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.device import DeviceFacts
from edgectl_protos.domain.errors import UnreachableError, UsageError
from edgectl_protos.domain.roofline import Ceiling

__all__ = ["BundleSubject", "CheckpointSubject", "Subject", "Wishes", "copied", "open_subject"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks for. `runtime` and `scheme` None leave the choice to the fleet file and the board.
    `declared` says what a bare graph leaves open.
    """

    runtime: Choice | None = None
    scheme: Choice | None = None
    task: str = ""
    footage: Path | None = None
    loop_file: Path | None = None
    declared: Declared = field(default_factory=Declared)


class Subject(Protocol):
    """What is deployed."""

    @property
    def name(self) -> str:
        """What it is called."""

    def way(self, device: Device, facts: DeviceFacts | None) -> Way:
        """What a device gets."""

    def ways(self, device: Device, facts: DeviceFacts | None, schemes: Sequence[str]) -> tuple[Assignment, ...]:
        """All that a device could run side by side and that take no toolchain: each runtime with all of the schemes."""

    def steps(self, assignment: Assignment) -> ConversionPlan | None:
        """The conversion as data; None when there is nothing to convert."""

    async def bundle(self, assignment: Assignment, progress: Progress) -> Bundle:
        """The bundle of an assignment, converted if need be."""

    def converted(self, assignment: Assignment) -> Bundle | None:
        """The bundle of an assignment, if it is there already."""


@dataclass(frozen=True, slots=True)
class CheckpointSubject:
    """A checkpoint."""

    card: CheckpointCard
    wishes: Wishes
    workshop: Workshop
    rates: RateStore | None = None

    @property
    def name(self) -> str:
        """What the release will be called."""
        return self.card.name

    def way(self, device: Device, facts: DeviceFacts | None) -> Way:
        """The board's first choice of those that can be built and run.

        Raises:
            RouteError: there is none; says why.
            ProfileError: the device's board is not known.
            UnreachableError: without facts and without a board nothing can be planned.
        """
        wished = RouteRequest(self.wishes.runtime or device.runtime, self.wishes.scheme or device.scheme)
        plan = self._routes(device, facts, wished)
        best = plan.best()
        rejected = tuple(f"not {other.assignment}: {other.reason}" for other in plan.rejected)
        return Way(
            plan.board, best.assignment, (*best.notes, *rejected), self._floors(best.assignment, plan.board, facts)
        )

    def ways(self, device: Device, facts: DeviceFacts | None, schemes: Sequence[str]) -> tuple[Assignment, ...]:
        """Runtimes in the board's order, but for those whose artifacts take a toolchain; where none can do all of the
        schemes, whatever there is.

        Raises:
            RouteError: there is no way at all.
        """
        plans = [self._routes(device, facts, RouteRequest(None, Choice.parse(scheme))) for scheme in schemes]
        plans[0].best()
        able = {str(route.assignment.runtime): route for route in plans[0].routes}
        if by_itself := {name for name in able if target(name).toolchain == HOST}:
            able = {name: route for name, route in able.items() if name in by_itself}
        all_of = set(able).intersection(*({str(route.assignment.runtime) for route in plan.routes} for plan in plans))
        return tuple(
            route.assignment
            for runtime in able
            for plan in plans
            for route in plan.routes
            if str(route.assignment.runtime) == runtime and (runtime in all_of or not all_of)
        )

    def steps(self, assignment: Assignment) -> ConversionPlan:
        """The conversion as data.

        Raises:
            EdgectlError: it cannot be converted.
        """
        return plan_conversion(self._request(assignment), self.workshop)

    async def bundle(self, assignment: Assignment, progress: Progress) -> Bundle:
        """Convert, or take it from the cache. Cancelled, it ends the processes of the conversion.

        Raises:
            EdgectlError: it cannot be converted, or a gate said no.
        """
        subject = str(assignment)
        progress(Update(subject, "converting"))
        request, shop = self._request(assignment), self.workshop
        made = await in_thread(run_conversion, request, shop, _texts(subject, progress), stop=shop.brake.pull)
        done = "converted before" if made.cached else f"converted in {made.seconds:.1f} s"
        progress(Update(subject, done, done=True))
        return _bundle_of(made)

    def converted(self, assignment: Assignment) -> Bundle | None:
        """What the cache holds, without converting anything."""
        found = find_conversion(self._request(assignment), self.workshop)
        return _bundle_of(found) if found else None

    def _routes(self, device: Device, facts: DeviceFacts | None, request: RouteRequest) -> RoutePlan:
        if facts is not None and device.stand_in and not facts.stand_in_for:
            facts = replace(facts, stand_in_for=device.board)
        if device.board:
            board = device.board
        elif facts is not None:
            board = detect(facts)
        else:
            raise UnreachableError(f"{device.name} does not answer, and fleet.yaml names no board for it")
        request = replace(request, refused=known_refusals(self.card, self.workshop))
        return plan_routes(self.card, load(board), facts, request)

    def _floors(self, assignment: Assignment, board: str, facts: DeviceFacts | None) -> tuple[ComponentFloor, ...]:
        measured: Mapping[Unit, Ceiling] = {}
        if self.rates is not None:
            measured = self.rates.of(facts.machine_id) if facts is not None else self.rates.of_board(board)
        return floors_of(counted_work(self.card, self.workshop.steps), assignment, load(board), measured)

    def _request(self, assignment: Assignment) -> ConvertRequest:
        return ConvertRequest(
            checkpoint=self.card.path,
            assignment=assignment,
            footage=self.wishes.footage,
            loop_file=self.wishes.loop_file,
            task=self.wishes.task,
            declared=self.wishes.declared,
        )


@dataclass(frozen=True, slots=True)
class BundleSubject:
    """A bundle directory, every byte of it checked."""

    directory: Path
    manifest: Manifest
    digest: Digest

    @classmethod
    def read(cls, directory: Path) -> BundleSubject:
        """Read and check a bundle.

        Raises:
            BundleError: it is not whole.
        """
        manifest, data = read_bundle(directory)
        return cls(directory, manifest, Digest(hashlib.sha256(data).hexdigest()))

    @property
    def name(self) -> str:
        """What the release is called."""
        return self.manifest.name

    def way(self, device: Device, facts: DeviceFacts | None) -> Way:
        """The bundle as it is: whether the device can run it is the device's to say."""
        board = device.board or (facts.stand_in_for or facts.board if facts else "")
        return Way(board or "any board", assignment_of(self.manifest))

    def ways(self, device: Device, facts: DeviceFacts | None, schemes: Sequence[str]) -> tuple[Assignment, ...]:
        """The one that it is."""
        return (assignment_of(self.manifest),)

    def steps(self, assignment: Assignment) -> None:
        """Nothing is converted."""

    async def bundle(self, assignment: Assignment, progress: Progress) -> Bundle:
        """The bundle as it is."""
        return Bundle(self.directory, self.manifest, self.digest, cached=True)

    def converted(self, assignment: Assignment) -> Bundle | None:
        """The bundle as it is."""
        return Bundle(self.directory, self.manifest, self.digest, cached=True)


def open_subject(path: Path, wishes: Wishes, workshop: Workshop, rates: RateStore | None = None) -> Subject:
    """The checkpoint or bundle at a path; `rates` are those that were measured on machines.

    Raises:
        CheckpointError: it is neither, or damaged.
        BundleError: the bundle is not whole.
        UsageError: a bundle is to be converted to something else.
    """
    if is_bundle(path):
        if wishes != Wishes():
            raise UsageError(
                f"{path} is a bundle: it is converted already, its runtimes, schemes and loop are fixed",
                hint="leave --runtime, --scheme, --task, --footage, --loop, --shape and --state out, or deploy "
                "the checkpoint",
            )
        return BundleSubject.read(path)
    return CheckpointSubject(inspect(path, workshop.digests, wishes.declared, wishes.footage), wishes, workshop, rates)


def copied(bundle: Bundle, directory: Path) -> Bundle:
    """The bundle, copied out of the cache.

    Raises:
        BundleError: there is something else already, or it cannot be written.
    """
    copy_bundle(bundle.directory, directory)
    return replace(bundle, directory=directory)


def _bundle_of(made: Conversion) -> Bundle:
    return Bundle(made.bundle_dir, made.manifest, made.release, made.cached, made.seconds)


def _texts(subject: str, progress: Progress) -> Callable[[str], None]:
    def text(line: str) -> None:
        progress(Update(subject, line))

    return text
