"""A LeRobot policy directory, read without LeRobot: config.json, the header of the weights, two processor pipelines.

Facts: features are as the policy sees them (frames CHW); the robot hands frames over as uint8 HWC. `read_checkpoint`
is the one reading of a directory; the host makes a card of it, and the export in the toolchain reads it again.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from edgectl_converters.card import ONNX, PT2, CheckpointCard, Sha256, digest_of_files, sha256_of
from edgectl_converters.sources.lerobot.buffers import buffers_of, has_buffers
from edgectl_converters.sources.lerobot.carried_export import (
    carried_export_files,
    carried_export_problem,
    has_carried_export,
)
from edgectl_converters.sources.lerobot.config import COMPONENTS, Config, read_config
from edgectl_converters.sources.lerobot.foreign import read_safetensors_header
from edgectl_converters.sources.lerobot.pipeline import POSTPROCESSOR, PREPROCESSOR
from edgectl_converters.sources.lerobot.processors import WEIGHTS, Processing, read_processing, state_files
from edgectl_converters.sources.lerobot.tokenizer import folder_inside, small_files, tokenizer_folder
from edgectl_converters.sources.lerobot.versions import toolchain_of, unknown_keys
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import CheckpointError, CheckpointFormatError
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy

__all__ = ["TASK", "WEIGHTS", "Checkpoint", "card", "checkpoint_files", "read_checkpoint", "sniff"]

TASK = "task"
"""The name of the instruction among the observations, LeRobot's own."""
_FIRST_LAYER = re.compile(r"model\.backbone\.conv1\.weight|diffusion\.(?:rgb_encoder(?:\.\d+)?)\.backbone\.0\.weight")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A directory that was read. `tokenizer` is a folder of it, None where no instruction is taken; `buffered`: its
    statistics stand in the weights.
    """

    path: Path
    config: Config
    processing: Processing
    policy: Policy
    tokenizer: Path | None
    buffered: bool = False


def sniff(path: Path) -> bool:
    """A directory with a config.json."""
    return path.is_dir() and (path / "config.json").exists()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the directory's own description of itself.

    Raises:
        CheckpointError: it is not a policy directory that edgectl reads, or one of its files is missing or damaged.
    """
    config = read_config(path)
    processing = read_processing(path, config)
    observations = [one.feature for one in processing.observed]
    tokenizer = None
    if processing.prompting is not None:
        tokenizer = tokenizer_folder(path, processing.prompting)
        observations.append(Feature(TASK, FeatureKind.LANGUAGE, DType.TEXT, ()))
    if TASK in [one.feature.name for one in processing.observed]:
        raise CheckpointError(f"an observation is called {TASK!r}, which is the instruction's name")
    policy = Policy(
        type=config.type,
        observations=tuple(observations),
        action=config.action,
        chunk_size=config.sizes.chunk,
        n_action_steps=config.sizes.execute,
        history=config.sizes.history,
    )
    return Checkpoint(path, config, processing, policy, tokenizer, has_buffers(path, path / WEIGHTS))


def checkpoint_files(checkpoint: Checkpoint) -> list[Path]:
    """The files that decide what the policy computes, those of a carried export left out."""
    path = checkpoint.path
    files = [path / name for name in ("config.json", WEIGHTS, PREPROCESSOR, POSTPROCESSOR)]
    files += state_files(path, checkpoint.config)
    vlm = folder_inside(path, checkpoint.config.values.get("vlm_model_name"))
    for folder in (checkpoint.tokenizer, vlm):
        if folder is not None:
            files += small_files(folder)
    return sorted({file for file in files if file.exists()})


def card(path: Path, sha256: Sha256 = sha256_of) -> CheckpointCard:
    """What the directory says about itself, and which toolchain exports it.

    Raises:
        CheckpointError: it is not a policy directory that edgectl reads, or one of its files is missing or damaged.
    """
    config = read_config(path)
    shapes = _weights(path)
    _check_channels(config, shapes)
    checkpoint = read_checkpoint(path)
    files = checkpoint_files(checkpoint)
    toolchain = toolchain_of(config.type, config.values)
    notes = []
    if unknown := unknown_keys(config.type, config.values):
        notes.append(
            f"config.json has {', '.join(unknown)[:200]}, which LeRobot 0.4 and 0.6 do not know; export it with your "
            f"own LeRobot: edgectl toolchain use {toolchain} --python PATH"
        )
    if checkpoint.buffered:
        notes.append("statistics are read from the weights, where LeRobot before 0.4 kept them")
    if config.ignored:
        notes.append(f"LeRobot's {config.type} does not read {', '.join(config.ignored)}")
    carried: tuple[str, ...] = ()
    if has_carried_export(path):
        problem = carried_export_problem(path, checkpoint.policy, files, sha256)
        notes.append(f"carried export not used: {problem}" if problem else "carries its export: no torch needed")
        if not problem:
            carried = (ONNX,)
            files = [*files, *carried_export_files(path)]
    return CheckpointCard(
        path=path,
        source="lerobot",
        policy=checkpoint.policy,
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        size_bytes=(path / WEIGHTS).stat().st_size,
        toolchain=toolchain,
        digest=digest_of_files(path, files, sha256),
        components=COMPONENTS[config.type],
        notes=tuple(notes),
        forms=(ONNX, PT2),
        carried=carried,
    )


def _check_channels(config: Config, shapes: dict[str, tuple[int, ...]]) -> None:
    """Refuse cameras with more or fewer channels than the first layer of the backbone takes, where it is known."""
    taken = {shape[1] for name, shape in shapes.items() if _FIRST_LAYER.fullmatch(name) and len(shape) == 4}
    for feature in config.observations:
        if feature.kind is FeatureKind.VISUAL and taken and feature.shape[-1] not in taken:
            raise CheckpointError(
                f"frames of {feature.name} have {feature.shape[-1]} channels, and the backbone of this {config.type} "
                f"takes {' or '.join(map(str, sorted(taken)))}: LeRobot cannot run it either",
                hint="train with a backbone for such frames, or without this camera",
            )


def _weights(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights, after checking that the file is whole and of this age."""
    if (path / "adapter_config.json").exists() or (path / "adapter_model.safetensors").exists():
        raise CheckpointFormatError(
            f"{path} is an adapter, which is not supported yet", hint="merge it into the policy, then save again"
        )
    if not (path / WEIGHTS).is_file():
        hint = "LeRobot writes model.safetensors with save_pretrained; other checkpoint formats are not read"
        raise CheckpointError(f"{path} has no {WEIGHTS}", hint=hint)
    shapes = read_safetensors_header(path / WEIGHTS)
    return {name: shape for name, shape in shapes.items() if name not in set(buffers_of(shapes))}
