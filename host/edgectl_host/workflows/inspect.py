"""What a checkpoint is, in which toolchain it would be exported, and the ways from it to a board."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgectl_converters.card import ONNX, CheckpointCard, Declared
from edgectl_converters.conversion import Workshop
from edgectl_converters.inspect import inspect
from edgectl_converters.route import RoutePlan, RouteRequest, plan_routes
from edgectl_host.workflows.toolchains import Listed, find_toolchain
from edgectl_profiles.library import load

__all__ = ["Inspection", "inspect_checkpoint"]


@dataclass(frozen=True, slots=True)
class Inspection:
    """A checkpoint's card, the toolchain as it would be used now, and the ways to a board."""

    card: CheckpointCard
    toolchain: Listed
    ways: RoutePlan


def inspect_checkpoint(
    path: Path, board: str, workshop: Workshop, declared: Declared, footage: Path | None = None
) -> Inspection:
    """Look at a checkpoint; nothing heavy is loaded, nothing is made or converted.

    Raises:
        CheckpointError: it cannot be read as what it claims to be.
        ProfileError: the board is not known.
        UsageError: what is declared does not fit it.
    """
    profile = load(board)
    card = inspect(path, workshop.digests, declared, footage)
    workshop.digests.save()
    toolchain = find_toolchain(workshop.toolchains, card.toolchain_of((ONNX,)))
    return Inspection(card, toolchain, plan_routes(card, profile, None, RouteRequest()))
