"""What is deployed: a checkpoint, converted for each target, or a bundle as it is.

A subject chooses the way to a device and makes the release for it. This is where the host meets the
converters and the board profiles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from edgectl_converters.bundle import is_bundle, read_bundle
from edgectl_converters.card import CheckpointCard
from edgectl_converters.convert import ConvertRequest, ConvertResult, convert, find_conversion
from edgectl_converters.inspect import inspect
from edgectl_converters.route import RoutePlan, RouteRequest, plan_routes
from edgectl_host.fleet.inventory import Device
from edgectl_host.workflows.plan import Route
from edgectl_host.workflows.progress import Progress, Step
from edgectl_host.workflows.release import Release, Target
from edgectl_profiles.library import detect, load
from edgectl_protos.domain.artifact import Digest, Precision
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.device import DeviceFacts
from edgectl_protos.domain.errors import UnreachableError, UsageError

__all__ = ["BundleSubject", "CheckpointSubject", "Subject", "open_subject"]


class Subject(Protocol):
    """What is deployed."""

    @property
    def name(self) -> str:
        """What it is called."""

    def route(self, device: Device, facts: DeviceFacts | None) -> Route:
        """The way to a device."""

    def release(self, target: Target, progress: Progress) -> Release:
        """The release for a target, converted if need be."""

    def converted(self, target: Target) -> Release | None:
        """The release for a target, if it is there already."""


@dataclass(frozen=True, slots=True)
class CheckpointSubject:
    """A checkpoint. `runtime` and `precision` None leave the choice to the fleet file and the board."""

    card: CheckpointCard
    runtime: str | None
    precision: Precision | None
    footage: Path | None
    loop_file: Path | None
    cache_dir: Path
    config_dir: Path

    @property
    def name(self) -> str:
        """What the release will be called."""
        return self.card.name

    def routes(self, device: Device, facts: DeviceFacts | None) -> RoutePlan:
        """All ways to a device, and why others do not lead there.

        Raises:
            ProfileError: its board is not known.
            UnreachableError: without facts and without a board nothing can be planned.
        """
        if facts is not None and device.stand_in and not facts.stand_in_for:
            facts = replace(facts, stand_in_for=device.board)
        if device.board:
            board = device.board
        elif facts is not None:
            board = detect(facts)
        else:
            raise UnreachableError(f"{device.name} does not answer, and fleet.yaml names no board for it")
        request = RouteRequest(self.runtime or device.runtime, self.precision or device.precision)
        return plan_routes(self.card, load(board), facts, request)

    def route(self, device: Device, facts: DeviceFacts | None) -> Route:
        """The best way to a device.

        Raises:
            RouteError: there is none; says why.
        """
        plan = self.routes(device, facts)
        best = plan.best()
        rejected = tuple(f"not {r.runtime} {r.precision.value}: {r.reason}" for r in plan.rejected)
        return Route(plan.board, Target(best.runtime, best.precision), (f"proof: {best.proof}", *rejected))

    def release(self, target: Target, progress: Progress) -> Release:
        """Convert, or take it from the cache."""
        subject = str(target)
        progress(Step(subject, "converting"))
        result = convert(
            self._request(target),
            cache_dir=self.cache_dir,
            config_dir=self.config_dir,
            progress=_texts(subject, progress),
        )
        done = "converted before" if result.cached else f"converted in {result.seconds:.1f} s"
        progress(Step(subject, done, done=True))
        return _release_of(result)

    def converted(self, target: Target) -> Release | None:
        """What the cache holds, without converting anything."""
        found = find_conversion(self._request(target), cache_dir=self.cache_dir, config_dir=self.config_dir)
        return _release_of(found) if found else None

    def _request(self, target: Target) -> ConvertRequest:
        return ConvertRequest(
            checkpoint=self.card.path,
            runtime=target.runtime,
            precision=target.precision,
            footage=self.footage,
            loop_file=self.loop_file,
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

    def route(self, device: Device, facts: DeviceFacts | None) -> Route:
        """The bundle's own target: whether the device can run it is the device's to say."""
        board = device.board or (facts.stand_in_for or facts.board if facts else "")
        return Route(board or "any board", self._release().target)

    def release(self, target: Target, progress: Progress) -> Release:
        """The bundle as it is."""
        return self._release()

    def converted(self, target: Target) -> Release | None:
        """The bundle as it is."""
        return self._release()

    def _release(self) -> Release:
        return Release(self.directory, self.manifest, self.digest, cached=True)


def open_subject(
    path: Path,
    *,
    runtime: str | None,
    precision: Precision | None,
    footage: Path | None,
    loop_file: Path | None,
    cache_dir: Path,
    config_dir: Path,
) -> Subject:
    """The checkpoint or bundle at a path.

    Raises:
        CheckpointError: it is neither, or damaged.
        BundleError: the bundle is not whole.
        UsageError: a bundle is to be converted to something else.
    """
    if is_bundle(path):
        if runtime or precision or footage or loop_file:
            raise UsageError(
                f"{path} is a bundle: it is converted already, for one runtime at one precision",
                hint="leave --runtime, --precision, --footage and --loop out, or deploy the checkpoint",
            )
        return BundleSubject.read(path)
    return CheckpointSubject(inspect(path), runtime, precision, footage, loop_file, cache_dir, config_dir)


def _release_of(result: ConvertResult) -> Release:
    return Release(result.bundle_dir, result.manifest, result.release, result.cached, result.seconds)


def _texts(subject: str, progress: Progress) -> Callable[[str], None]:
    def text(line: str) -> None:
        progress(Step(subject, line))

    return text
