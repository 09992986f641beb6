"""Statistics that stand inside the weights, as LeRobot before 0.4 kept them: a pipeline is made of them.

Facts: buffers are called `<part>.[<dataset>_]buffer_<feature>.<statistic>`, dots of a feature as underscores; the modes
stand in config.json alone, which LeRobot's own migration follows too. A policy that was trained on several datasets has
statistics of each, and nothing says which one is meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from edgectl_converters.sources.lerobot.config import Config
from edgectl_converters.sources.lerobot.foreign import read_safetensors_header
from edgectl_converters.sources.lerobot.pipeline import POSTPROCESSOR, PREPROCESSOR, STATISTICS, Normaliser, Pipeline
from edgectl_protos.domain.errors import CheckpointFormatError, ProcessorError
from edgectl_protos.domain.policy import Feature

__all__ = ["buffer_keys", "buffers_of", "has_buffers", "pipeline_of_buffers"]

_BUFFER = re.compile(r"(normalize_inputs|normalize_targets|unnormalize_outputs)\.(?:(.+)_)?buffer_(.+)\.(\w+)")
_PART = {PREPROCESSOR: "normalize_inputs", POSTPROCESSOR: "unnormalize_outputs"}
# Those whose pipelines do nothing but normalise.
_TYPES = ("act", "diffusion")
_EPS = 1e-8
_MIGRATE = "migrate it with LeRobot 0.4: python -m lerobot.processor.migrate_policy_normalization --pretrained-path "


def buffers_of(names: Iterable[str]) -> list[str]:
    """Those of these tensors that hold statistics."""
    return [name for name in names if _BUFFER.fullmatch(name)]


def has_buffers(checkpoint: Path, weights: Path) -> bool:
    """Whether the checkpoint's statistics stand in its weights: it has no pipelines, and they do."""
    if any((checkpoint / name).exists() for name in _PART) or not weights.is_file():
        return False
    return bool(buffers_of(read_safetensors_header(weights)))


def pipeline_of_buffers(weights: Path, name: str, config: Config) -> Pipeline:
    """What a pipeline of today would say, its statistics in the weights.

    Raises:
        CheckpointFormatError: the type's pipelines do more than normalise, or there are statistics of several datasets.
        ProcessorError: config.json names a mode that is not known.
    """
    if config.type not in _TYPES:
        raise CheckpointFormatError(
            f"{weights.name} holds its statistics as buffers, as LeRobot before 0.4 wrote them, which is read for "
            f"{', '.join(_TYPES)}",
            hint=f"{_MIGRATE}{weights.parent}",
        )
    for kind, mode in config.normalization.items():
        if mode not in (*STATISTICS, "IDENTITY"):
            raise ProcessorError(f"config.json: {kind} is normalised by {mode!r}, which edgectl does not know")
    features = {one.name: one.kind.value for one in _features(name, config)}
    keys = buffer_keys(weights, name, config)
    return Pipeline(name, {}, Normaliser(dict(config.normalization), features, _EPS, weights, keys))


def buffer_keys(weights: Path, name: str, config: Config) -> dict[str, str]:
    """The tensors that a pipeline needs, by `<feature>.<statistic>`.

    Raises:
        CheckpointFormatError: there are statistics of several datasets.
    """
    found = [match for match in map(_BUFFER.fullmatch, read_safetensors_header(weights)) if match]
    datasets = sorted({match[2] or "" for match in found})
    if len(datasets) > 1:
        raise CheckpointFormatError(
            f"{weights.name} holds statistics of {len(datasets)} datasets ({', '.join(datasets)[:200]}), and nothing "
            "says which of them the robot's are",
            hint=f"{_MIGRATE}{weights.parent}",
        )
    features = {one.name.replace(".", "_"): one.name for one in _features(name, config)}
    return {
        f"{features[match[3]]}.{match[4]}": match[0]
        for match in found
        if match[1] == _PART[name] and match[3] in features
    }


def _features(name: str, config: Config) -> tuple[Feature, ...]:
    return (config.action,) if name == POSTPROCESSOR else config.observations
