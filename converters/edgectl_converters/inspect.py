"""Which source reads this checkpoint, and what it says about it. Nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path

from edgectl_converters.card import CheckpointCard, Sha256, sha256_of
from edgectl_converters.sources.registry import sources
from edgectl_protos.domain.errors import CheckpointError, CheckpointFormatError

__all__ = ["inspect"]


def inspect(path: Path, sha256: Sha256 = sha256_of) -> CheckpointCard:
    """The card of a checkpoint, by the first source that knows it; `sha256` may remember digests of big files.

    Raises:
        CheckpointError: there is nothing at this path, or it cannot be read as what it claims to be.
        CheckpointFormatError: no source reads it.
    """
    if not path.exists():
        raise CheckpointError(f"no checkpoint at {path}", hint="edgectl inspect PATH")
    for source in sources():
        if source.sniff(path):
            return source.card(path, sha256)
    what = "directory without a config.json" if path.is_dir() else f"file ending in {path.suffix or 'nothing'!r}"
    raise CheckpointFormatError(
        f"{path} is a {what}; edgectl reads LeRobot policy directories and ONNX graphs",
        hint="point at the folder that holds config.json and model.safetensors, or at an .onnx file",
    )
