"""The source of LeRobot policies. Its export runs where the card says: in a LeRobot toolchain, or in this environment
where the checkpoint carries its export.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from edgectl_converters.card import ONNX, CheckpointCard, Sha256
from edgectl_converters.sources.base import Export, ExportRequest, Source
from edgectl_converters.sources.lerobot import card as cards
from edgectl_converters.sources.lerobot.carried_export import (
    carried_export_problem,
    has_carried_export,
    restore,
    write_carried_export,
)
from edgectl_converters.sources.lerobot.export import export as export_with_lerobot
from edgectl_converters.sources.lerobot.processors import processing_arrays

__all__ = ["LeRobotSource", "carry"]


def carry(checkpoint: Path, export: Export, exported: Path) -> Path:
    """Store an export, whose files lie in `exported`, in its checkpoint; the folder that travels with it.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    files = cards.checkpoint_files(cards.read_checkpoint(checkpoint))
    return write_carried_export(export, exported, checkpoint, checkpoint / cards.WEIGHTS, files)


class LeRobotSource(Source):
    """Directories that LeRobot's save_pretrained wrote."""

    name: ClassVar[str] = "lerobot"

    def sniff(self, path: Path) -> bool:
        """A directory with a config.json."""
        return cards.sniff(path)

    def card(self, path: Path, sha256: Sha256) -> CheckpointCard:
        """What the checkpoint says about itself.

        Raises:
            CheckpointError: it cannot be read as what it claims to be.
        """
        return cards.card(path, sha256)

    def spread(self, path: Path) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
        """Where the checkpoint's statistics say that states lie."""
        checkpoint = cards.read_checkpoint(path)
        arrays = processing_arrays(checkpoint.path, checkpoint.config, checkpoint.processing)
        found = {}
        for one in checkpoint.processing.observed:
            if one.visual or f"{one.short}.offset" not in arrays:
                continue
            centre, scale = (
                arrays[f"{one.short}.{part}"].astype("float64").reshape(-1) for part in ("offset", "scale")
            )
            if f"{one.short}.shift" in arrays:
                # The ends of the range stand at ±1, which are two deviations.
                centre, scale = centre - arrays[f"{one.short}.shift"].reshape(-1) * scale, scale / 2
            found[one.feature.name] = (tuple(map(float, centre)), tuple(map(float, scale)))
        return found

    def export(self, request: ExportRequest, progress: Callable[[str], None]) -> Export:
        """Export with LeRobot, or restore the export that the checkpoint carries.

        Raises:
            CheckpointError: LeRobot cannot load or run the policy, or a part cannot be exported.
            ToolchainError: the environment lacks a package.
        """
        path = Path(request.checkpoint)
        if request.forms == (ONNX,) and has_carried_export(path):
            checkpoint = cards.read_checkpoint(path)
            if not carried_export_problem(path, checkpoint.policy, cards.checkpoint_files(checkpoint)):
                progress("restoring the carried export")
                return restore(path, path / cards.WEIGHTS, Path(request.out))
        return export_with_lerobot(request, progress)
